/* SPDX-License-Identifier: MIT */
/*
 * test_authority.c - the authority matrix: kinds of files x modes x lists of access x users x links x mounts x user namespaces, each
 * answer compared with what open(2) says to a process of the same ids without capabilities.
 *
 * An oracle (a child with the user's ids) opens everything for reading and for writing; then who is asked, another child, tells
 * what may be done with it. Of what does not exist the oracle lists the folder, and makes the file; in a folder it makes another.
 */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/process.h"
#include "key.h"
#include "wire.h"

enum { OWNER = 70001, MEMBER, SUPPLEMENTARY, OTHER, NAMED, NAMED_GROUP_S };
enum { GROUP = 70101, NAMED_GROUP, NO_GROUP };

struct user {
	const char *name;
	uid_t uid;
	gid_t gid, more; /* more: a supplementary one, unless 0 */
	bool namespace;  /* root of a user namespace of its own */
};

static const struct user users[] = {
	{ "owner", OWNER, NO_GROUP, 0, false },
	{ "owner in the group", OWNER, GROUP, 0, false },
	{ "group", MEMBER, GROUP, 0, false },
	{ "supplementary group", SUPPLEMENTARY, NO_GROUP, GROUP, false },
	{ "other", OTHER, NO_GROUP, 0, false },
	{ "named", NAMED, NO_GROUP, 0, false },
	{ "named group", NAMED_GROUP_S, NO_GROUP, NAMED_GROUP, false },
	{ "root without capabilities", 0, NO_GROUP, 0, false },
	{ "root's group", OTHER, 0, 0, false },
	{ "owner, a namespace's root", OWNER, NO_GROUP, 0, true },
	{ "other, a namespace's root", OTHER, NO_GROUP, GROUP, true },
};
enum { N_USERS = sizeof(users) / sizeof(users[0]), MAX_CELLS = 4096 };

enum kind { THING, FOLDER, MISSING };

/* `at`: for MISSING the folder in which it would be. */
struct cell {
	char path[160], at[100];
	enum kind kind;
};

static struct cell cells[MAX_CELLS];
static unsigned n_cells;

/* What may be done; or why it cannot be told. EACCES is an answer: nothing may be done. */
struct answer {
	int error;
	bool read, write;
};

/* For all cells of one user. */
struct answers {
	struct answer oracle[MAX_CELLS], asked[MAX_CELLS];
};

/* --- what there is --------------------------------------------------------------------------------- */

static struct cell *add(enum kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

static struct cell *add(enum kind kind, const char *format, ...)
{
	struct cell *cell = &cells[n_cells++];
	va_list args;

	ck_assert_uint_le(n_cells, MAX_CELLS);
	cell->kind = kind;
	va_start(args, format);
	vsnprintf(cell->path, sizeof(cell->path), format, args);
	va_end(args);
	return cell;
}

static void must(int r, const char *what)
{
	ck_assert_msg(r >= 0, "%s: %s", what, strerror(errno));
}

static void own(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	must(chown(path, uid, gid), path);
	must(chmod(path, mode), path);
}

static void make_file(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	must(fd, path);
	close(fd);
	own(path, uid, gid, mode);
}

static void make_folder(const char *path, uid_t uid, gid_t gid, mode_t mode)
{
	must(mkdir(path, 0700), path);
	own(path, uid, gid, mode);
}

static void make_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd, path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)), path);
	close(fd);
}

/* Modes for which it makes a difference who one is. */
static const mode_t modes[] = {
	0000, 0777, 0666, 0644, 0600, 0400, 0200, 0100, 0040, 0020, 0060, 0004, 0002, 0006, 0077, 0707, 0770, 0070, 0007, 0311,
	0511, 0555, 0711, 0722, 0733, 0755, 0750, 0705, 0466, 0266, 0640, 0460, 0604, 0406, 0420, 0240, 01777, 02775, 01733, 04755,
};
enum { N_MODES = sizeof(modes) / sizeof(modes[0]) };

/* With names relative to the working directory, where it is made; `view` is what stands before them where it is looked at. */
static void make_regular(const char *view)
{
	static const struct {
		uid_t uid;
		gid_t gid;
	} owners[] = { { OWNER, GROUP }, { 0, 0 } };

	for (unsigned i = 0; i < 2; i++) {
		for (mode_t mode = 0; mode <= 0777; mode += i ? 7 : 1) {
			char name[32];

			snprintf(name, sizeof(name), "regular-%u-%03o", i, (unsigned)mode);
			if (access(name, F_OK) < 0)
				make_file(name, owners[i].uid, owners[i].gid, mode);
			add(THING, "%s/%s", view, name);
		}
	}
}

static void make_others(const char *view)
{
	for (unsigned i = 0; i < N_MODES; i++) {
		unsigned mode = modes[i];
		char name[40];

		snprintf(name, sizeof(name), "fifo-%u", i);
		must(mkfifo(name, 0600), name);
		own(name, OWNER, GROUP, mode);
		add(THING, "%s/%s", view, name);
		snprintf(name, sizeof(name), "socket-%u", i);
		make_socket(name);
		own(name, OWNER, GROUP, mode);
		add(THING, "%s/%s", view, name);
		snprintf(name, sizeof(name), "folder-%u", i);
		make_folder(name, OWNER, GROUP, mode);
		add(FOLDER, "%s/%s", view, name);
		add(FOLDER, "%s/%s/", view, name);
		add(FOLDER, "%s/%s/.", view, name);
		snprintf(add(MISSING, "%s/%s/missing", view, name)->at, sizeof(cells[0].at), "%s/%s", view, name);
		snprintf(name, sizeof(name), "folder-%u/there", i);
		make_file(name, OTHER, GROUP, 0664);
		add(THING, "%s/%s", view, name);
	}
}

/* A null device of these modes, where a device may be made. */
static void make_devices(const char *view)
{
	for (unsigned i = 0; i < N_MODES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "device-%u", i);
		if (mknod(name, S_IFCHR | 0600, makedev(1, 3)) < 0)
			return;
		own(name, OWNER, GROUP, modes[i]);
		add(THING, "%s/%s", view, name);
	}
}

/* --- lists of access */

struct list {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[7];
};

enum { TAG_USER_OBJ = 1, TAG_USER = 2, TAG_GROUP_OBJ = 4, TAG_GROUP = 8, TAG_MASK = 16, TAG_OTHER = 32 };

/* As the kernel keeps it. False: the file system has none. */
static bool set_list(const char *path, unsigned owner, unsigned user, unsigned group, unsigned named, unsigned mask, unsigned other)
{
	const struct list list = {
		2,
		{ { TAG_USER_OBJ, (uint16_t)owner, UINT32_MAX },
		  { TAG_USER, (uint16_t)user, NAMED },
		  { TAG_GROUP_OBJ, (uint16_t)group, UINT32_MAX },
		  { TAG_GROUP, (uint16_t)named, NAMED_GROUP },
		  { TAG_MASK, (uint16_t)mask, UINT32_MAX },
		  { TAG_OTHER, (uint16_t)other, UINT32_MAX } },
	};

	return setxattr(path, "system.posix_acl_access", &list, offsetof(struct list, entries[6]), 0) == 0;
}

static void make_lists(const char *view)
{
	static const unsigned perms[] = { 0, 2, 4, 6 };

	for (unsigned i = 0; i < 4 * 4 * 4 * 2; i++) {
		unsigned user = perms[i % 4], group = perms[i / 4 % 4], mask = perms[i / 16 % 4], other = i / 64 ? 6 : 0;
		char name[32];

		snprintf(name, sizeof(name), "list-%u", i);
		make_file(name, OWNER, GROUP, 0600);
		if (!set_list(name, 6 ^ other, user, group, perms[(i + i / 4) % 4], mask, other)) {
			printf("SKIP: no lists of access in %s: %s\n", view, strerror(errno));
			must(unlink(name), name);
			return;
		}
		add(THING, "%s/%s", view, name);
		if (i % 8)
			continue;
		snprintf(name, sizeof(name), "list-folder-%u", i);
		make_folder(name, OWNER, GROUP, 0700);
		ck_assert(set_list(name, 7, user | 1, group | 1, user | 1, mask | 1, other));
		add(FOLDER, "%s/%s", view, name);
		snprintf(add(MISSING, "%s/%s/missing", view, name)->at, sizeof(cells[0].at), "%s/%s", view, name);
	}
}

/* --- links */

static void make_link(const char *target, const char *path, uid_t uid)
{
	must(symlink(target, path), path);
	must(lchown(path, uid, GROUP), path);
}

static void add_missing(const char *view, const char *path, const char *at)
{
	snprintf(add(MISSING, "%s/%s", view, path)->at, sizeof(cells[0].at), "%s/%s", view, at);
}

/* Things made before: regular-0-640 and its like. */
static void make_links(const char *view)
{
	static const mode_t folders[] = { 0755, 0700, 0711, 0311, 0644, 0750, 01777, 0771 };
	char text[64], target[64];

	for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(text, sizeof(text), "way-%u", i);
		make_folder(text, OWNER, GROUP, folders[i]);
		snprintf(text, sizeof(text), "way-%u/to-file", i);
		make_link("../regular-0-640", text, SUPPLEMENTARY);
		add(THING, "%s/%s", view, text);
		snprintf(text, sizeof(text), "way-%u/back", i);
		make_link("..", text, OTHER);
		add(FOLDER, "%s/%s", view, text);
		add(THING, "%s/%s/regular-0-664", view, text); /* a link on the way, not at its end */
		add(THING, "%s/way-%u/../regular-0-664", view, i);
		snprintf(text, sizeof(text), "way-%u/nowhere", i);
		make_link("missing", text, OTHER);
		snprintf(target, sizeof(target), "way-%u", i);
		add_missing(view, text, target);
		snprintf(text, sizeof(text), "through-%u", i);
		snprintf(target, sizeof(target), "way-%u/to-file", i);
		make_link(target, text, 0);
		add(THING, "%s/%s", view, text);
	}
	make_link("loop", "loop", 0);
	add(THING, "%s/loop", view);
	make_link("loop-b", "loop-a", 0);
	make_link("loop-a", "loop-b", 0);
	add(THING, "%s/loop-a", view);
	make_link("missing/missing", "astray", 0);
	add(THING, "%s/astray", view);
	make_link("regular-0-664/", "file-slash", 0);
	add(THING, "%s/file-slash", view);
	add(THING, "%s/regular-0-664/", view);
	add(THING, "%s/regular-0-664/x", view);
	make_link("../../../../../../../../../../../../../../../etc/passwd", "up", 0);
	add(THING, "%s/up", view);
	make_link("/dev/null", "absolute", 0);
	add(THING, "%s/absolute", view);
	make_link("chain-2", "chain-1", OWNER);
	make_link("way-2/back/chain-3", "chain-2", OTHER);
	make_link("./regular-0-640", "chain-3", 0);
	add(THING, "%s/chain-1", view);
}

/* Kept by flags of their own; removed again at the end. */
static const char *const flagged[] = { "immutable", "append-only" };

static bool set_flag(const char *path, int flag)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), flags = 0;
	bool done = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;

	flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	flags |= flag;
	done = done && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
	if (fd >= 0)
		close(fd);
	return done;
}

static void make_flagged(const char *view)
{
	static const int flags[] = { FS_IMMUTABLE_FL, FS_APPEND_FL };

	for (unsigned i = 0; i < 2; i++) {
		make_file(flagged[i], OWNER, GROUP, 0664);
		if (!set_flag(flagged[i], flags[i]))
			printf("SKIP: no %s files in %s: %s\n", flagged[i], view, strerror(errno));
		add(THING, "%s/%s", view, flagged[i]);
	}
}

/* --- who is asked ---------------------------------------------------------------------------------- */

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	must((int)syscall(SYS_capset, &header, none), "capset");
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	must(fd, path);
	must((int)write(fd, text, strlen(text)), path);
	close(fd);
}

/* As the kernel sees it the process stays who it is. */
static void become_root_of_a_namespace(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable"); /* /proc/self is ours */
	must(unshare(CLONE_NEWUSER), "a user namespace");
	write_text("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	write_text("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
	write_text("/proc/self/gid_map", map);
	ck_assert_uint_eq(geteuid(), 0);
}

static void become(const struct user *user, bool namespace)
{
	must(setgroups(user->more ? 1 : 0, &user->more), "setgroups");
	must(setresgid(user->gid, user->gid, user->gid), "setresgid");
	must(setresuid(user->uid, user->uid, user->uid), "setresuid");
	umask(0);
	if (namespace)
		become_root_of_a_namespace();
	drop_capabilities();
}

/* 0: it may be done; else the errno why not. */
static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	/* Nobody at the other end, no opening at all, a program that runs: the rights had been looked at. */
	return fd >= 0 || errno == ENXIO || errno == ETXTBSY ? 0 : errno;
}

static bool may_make(const char *path)
{
	int r = try_open(path, O_WRONLY | O_CREAT);

	ck_assert_msg(r == 0 || r == EACCES || r == EROFS || r == EPERM, "%s: %s", path, strerror(r));
	return r == 0;
}

static void ask_kernel(const struct cell *cell, struct answer *ret)
{
	char probe[PATH_MAX];
	int r = try_open(cell->path, O_RDONLY);

	*ret = (struct answer){ .read = r == 0 };
	if (r == ENOENT && cell->kind == MISSING) {
		ret->read = try_open(cell->at, O_RDONLY | O_DIRECTORY) == 0;
		ret->write = may_make(cell->path);
		snprintf(probe, sizeof(probe), "%s/missing", cell->at);
		if (ret->write)
			must(unlink(probe), probe);
	} else if (r != 0 && r != EACCES && r != EPERM) {
		ret->error = r;
	} else if (cell->kind == FOLDER) {
		snprintf(probe, sizeof(probe), "%s/probe", cell->path);
		ret->write = may_make(probe);
		if (ret->write)
			must(unlink(probe), probe);
	} else {
		r = try_open(cell->path, O_WRONLY);
		ret->write = r == 0 || (r == EPERM && try_open(cell->path, O_WRONLY | O_APPEND) == 0);
	}
}

static void ask_place(const struct cell *cell, struct answer *ret)
{
	struct place place;
	int r = place_resolve(-1, cell->path, &place);

	*ret = (struct answer){ .error = r == -EACCES ? 0 : -r };
	if (r < 0)
		return;
	ret->read = place.may_read;
	ret->write = place.may_write && !place.read_only;
	place_deinit(&place);
}

/* --- the daemon of all users */

static struct harness_daemon daemon_of_all;

static void receive(int to_daemon, unsigned char *frame, struct wire_header *ret)
{
	size_t used = 0;
	uint32_t wanted = WIRE_HEADER_SIZE;

	while (used < wanted) {
		ssize_t n = recv(to_daemon, frame + used, wanted - used, 0); /* descriptors are closed by the kernel */

		ck_assert_msg(n > 0, "the daemon has hung up");
		used += (size_t)n;
		if (used == WIRE_HEADER_SIZE)
			memcpy(&wanted, frame, sizeof(wanted));
		ck_assert_uint_le(wanted, WIRE_SMALL_FRAME);
	}
	ck_assert_int_eq(wire_get_header(frame, used, ret), 1);
}

static int connect_daemon(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	unsigned char frame[WIRE_SMALL_FRAME];
	struct wire_header header;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t size;

	must(fd, "a socket");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", daemon_of_all.address);
	must(connect(fd, (struct sockaddr *)&address, sizeof(address)), "connecting");
	size = wire_put_hello(frame, 1, &(struct wire_hello){ .version_min = WIRE_VERSION, .version_max = WIRE_VERSION });
	ck_assert_int_eq(send(fd, frame, size, MSG_NOSIGNAL), (ssize_t)size);
	receive(fd, frame, &header);
	ck_assert_uint_eq(header.type, WIRE_WELCOME);
	return fd;
}

/* What it would be opened with: an errno, or 0 and the rights. */
static int open_by(int to_daemon, const char *path, uint32_t flags, uint32_t *ret_rights)
{
	unsigned char frame[PATH_MAX + WIRE_SMALL_FRAME];
	struct wire_open open = { .flags = flags, .path = path, .path_size = (uint32_t)strlen(path) };
	struct wire_header header;
	struct wire_opened opened;
	struct wire_error error;
	size_t size = wire_put_open(frame, 2, &open);

	ck_assert_int_eq(send(to_daemon, frame, size, MSG_NOSIGNAL), (ssize_t)size);
	receive(to_daemon, frame, &header);
	if (header.type == WIRE_ERROR) {
		ck_assert_int_eq(wire_get_error(frame, header.size, &error), 0);
		return (int)error.error;
	}
	ck_assert_uint_eq(header.type, WIRE_OPENED);
	ck_assert_int_eq(wire_get_opened(frame, header.size, &opened), 0);
	*ret_rights = opened.rights;
	size = wire_put_close(frame, &(struct wire_close){ .topic = opened.topic });
	ck_assert_int_eq(send(to_daemon, frame, size, MSG_NOSIGNAL), (ssize_t)size);
	return 0;
}

static void ask_daemon(int to_daemon, const struct cell *cell, struct answer *ret)
{
	uint32_t rights = 0;
	int r = open_by(to_daemon, cell->path, WIRE_RIGHT_POST, &rights);

	if (r == EACCES)
		r = open_by(to_daemon, cell->path, WIRE_RIGHT_SUBSCRIBE, &rights);
	*ret = (struct answer){ .error = r == EACCES ? 0 : r };
	ret->read = r == 0 && (rights & WIRE_RIGHT_SUBSCRIBE);
	ret->write = r == 0 && (rights & WIRE_RIGHT_POST);
}

/* As on a kernel that has neither openat2 nor faccessat2. */
static void pretend_old_kernel(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 437, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 439, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(steps) / sizeof(steps[0]), steps };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

/* --- the comparison -------------------------------------------------------------------------------- */

struct question {
	const struct user *user;
	struct answers *answers;
	bool oracle, old_kernel, daemon;
};

static int answer_all(struct harness_process *peer, void *arg)
{
	const struct question *question = arg;

	int to_daemon;

	(void)peer;
	become(question->user, (question->oracle || question->daemon) && question->user->namespace);
	if (question->old_kernel)
		pretend_old_kernel();
	to_daemon = question->daemon && !question->oracle ? connect_daemon() : -1;
	for (unsigned i = 0; i < n_cells; i++) {
		if (question->oracle)
			ask_kernel(&cells[i], &question->answers->oracle[i]);
		else if (question->daemon)
			ask_daemon(to_daemon, &cells[i], &question->answers->asked[i]);
		else
			ask_place(&cells[i], &question->answers->asked[i]);
	}
	if (to_daemon >= 0)
		close(to_daemon);
	return 0;
}

static void in_child(struct question *question)
{
	struct harness_process process;

	harness_spawn(&process, answer_all, question);
	harness_expect_exit(&process, 0);
}

static const char *text_of(const struct answer *answer, char *ret, size_t size)
{
	if (answer->error)
		snprintf(ret, size, "%s", strerror(answer->error));
	else
		snprintf(ret, size, "%s%s", answer->read ? "r" : "-", answer->write ? "w" : "-");
	return ret;
}

static unsigned count_disagreements(const struct user *user, const struct answers *answers)
{
	unsigned n = 0, n_yes = 0, n_no = 0;

	for (unsigned i = 0; i < n_cells; i++) {
		const struct answer *a = &answers->oracle[i], *b = &answers->asked[i];
		char expected[64], got[64];

		n_yes += a->read;
		n_no += !a->read;
		if (a->error == b->error && a->read == b->read && a->write == b->write)
			continue;
		if (++n <= 20)
			printf("%s, %s: open(2) says %s, we say %s\n", cells[i].path, user->name,
			       text_of(a, expected, sizeof(expected)), text_of(b, got, sizeof(got)));
	}
	ck_assert_msg(n_yes > n_cells / 10 && n_no > n_cells / 10, "%s reads %u and not %u: no test", user->name, n_yes, n_no);
	return n;
}

enum way { BY_PLACE, BY_PLACE_OLD_KERNEL, BY_DAEMON };

static void compare(const char *what, enum way way)
{
	struct answers *answers = mmap(NULL, sizeof(*answers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned n = 0;

	ck_assert_ptr_ne(answers, MAP_FAILED);
	for (unsigned i = 0; i < N_USERS; i++) {
		struct question question = { &users[i], answers, true, false, way == BY_DAEMON };

		memset(answers, 0xff, sizeof(*answers));
		in_child(&question);
		question.oracle = false;
		question.old_kernel = way == BY_PLACE_OLD_KERNEL;
		in_child(&question);
		n += count_disagreements(&users[i], answers);
	}
	printf("%s: %u paths x %u users = %u cells compared, %u disagree\n", what, n_cells, (unsigned)N_USERS,
	       n_cells * (unsigned)N_USERS, n);
	fflush(stdout);
	munmap(answers, sizeof(*answers));
	ck_assert_uint_eq(n, 0);
}

/* --- the worlds ------------------------------------------------------------------------------------ */

static void begin(void)
{
	if (geteuid() != 0)
		harness_skip("needs root, to be other users");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		harness_skip("needs mounts of its own: %s", strerror(errno));
	umask(0);
	must(chmod(harness_path(".."), 0755), "the program's folder");
	must(chmod(harness_tmpdir(), 0755), "the case's folder");
}

static void make_all(const char *view)
{
	make_regular(view);
	make_others(view);
	make_devices(view);
	make_lists(view);
	make_links(view);
}

static void enter(const char *folder)
{
	make_folder(folder, OWNER, GROUP, 0775);
	must(chdir(folder), folder);
}

START_TEST(plain)
{
	const char *folder;

	begin();
	folder = harness_path("plain");
	enter(folder);
	make_all(folder);
	make_flagged(folder);
	compare("plain", _i == 1 ? BY_PLACE_OLD_KERNEL : BY_PLACE);
	for (unsigned i = 0; i < 2; i++)
		(void)set_flag(flagged[i], 0);
}
END_TEST

/* Really, as these users, through the daemon that serves all: its worker has their ids, and no capabilities. */
START_TEST(through_the_daemon)
{
	static const char *const arguments[] = { "--system", "--user", "70200", "--files-timeout", "20000", NULL };
	const char *folder;

	begin();
	daemon_of_all.address = harness_path("run/socket"); /* which it makes itself */
	daemon_of_all.log = harness_path("log");
	harness_daemon_start(&daemon_of_all, arguments);
	folder = harness_path("plain");
	enter(folder);
	make_all(folder);
	compare("through the daemon", BY_DAEMON);
	harness_daemon_stop(&daemon_of_all);
}
END_TEST

struct world {
	const char *name;
	unsigned long flags; /* of a tmpfs, or of a bind mount of another folder */
	bool bind;
};

START_TEST(mounts)
{
	static const struct world worlds[] = {
		{ "tmpfs", 0, false },
		{ "tmpfs nodev,noexec,nosuid", MS_NODEV | MS_NOEXEC | MS_NOSUID, false },
		{ "tmpfs read-only", MS_RDONLY, false },
		{ "bind", 0, true },
		{ "bind read-only", MS_RDONLY, true },
		{ "bind nodev,nosymfollow", MS_NODEV | 256, true },
	};
	const struct world *world = &worlds[_i];
	const char *folder, *view;

	begin();
	folder = harness_path("folder");
	view = harness_path("view");
	must(mkdir(view, 0755), view);
	must(mkdir(folder, 0755), folder);
	if (!world->bind)
		must(mount("none", folder, "tmpfs", 0, "mode=0755"), "tmpfs");
	must(chdir(folder), folder);
	make_all(world->bind ? view : folder);
	must(chdir("/"), "/");
	if (world->bind)
		must(mount(folder, view, NULL, MS_BIND, NULL), "bind");
	if (world->flags && mount("none", world->bind ? view : folder, NULL,
	                          MS_REMOUNT | (world->bind ? MS_BIND : 0) | world->flags, NULL) < 0)
		harness_skip("%s: %s", world->name, strerror(errno));
	compare(world->name, BY_PLACE);
	must(umount2(world->bind ? view : folder, MNT_DETACH), "unmounting");
}
END_TEST

START_TEST(overlay)
{
	const char *view, *options;

	begin();
	view = harness_path("view");
	must(mkdir(harness_path("base"), 0755), "base");
	must(mount("none", harness_path("base"), "tmpfs", 0, "mode=0755"), "tmpfs");
	must(mkdir(harness_path("base/lower"), 0755), "lower");
	must(mkdir(harness_path("base/upper"), 0755), "upper");
	must(mkdir(harness_path("base/work"), 0755), "work");
	must(mkdir(view, 0755), view);
	must(chdir(harness_path("base/lower")), "lower");
	make_all(view);
	must(chdir("/"), "/");
	options = harness_path("lowerdir=%s,upperdir=%s,workdir=%s", harness_path("base/lower"), harness_path("base/upper"),
	                       harness_path("base/work"));
	options = strstr(options, "lowerdir");
	if (mount("overlay", view, "overlay", 0, options) < 0)
		harness_skip("no overlay: %s", strerror(errno));
	compare("overlay", BY_PLACE);
	must(umount2(view, MNT_DETACH), "unmounting");
	must(umount2(harness_path("base"), MNT_DETACH), "unmounting");
}
END_TEST

/* Folders by themselves: what does not exist in each of them, sticky ones too, of all owners. */
START_TEST(missing)
{
	static const struct {
		uid_t uid;
		gid_t gid;
	} owners[] = { { OWNER, GROUP }, { 0, 0 }, { OTHER, NAMED_GROUP } };
	const char *view;

	begin();
	view = harness_path("missing");
	enter(view);
	for (unsigned i = 0; i < 3; i++) {
		for (mode_t mode = 0; mode <= 0777; mode += i ? 5 : 1) {
			char name[32];

			snprintf(name, sizeof(name), "in-%u-%04o", i, (unsigned)mode);
			make_folder(name, owners[i].uid, owners[i].gid, mode | (mode % 3 ? 0 : S_ISVTX));
			snprintf(add(MISSING, "%s/%s/missing", view, name)->at, sizeof(cells[0].at), "%s/%s", view, name);
			add(FOLDER, "%s/%s", view, name);
		}
	}
	compare("missing files", _i == 1 ? BY_PLACE_OLD_KERNEL : BY_PLACE);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(plain, 2),
	HARNESS_CASE_EACH(missing, 2),
	HARNESS_CASE_EACH(mounts, 6),
	HARNESS_CASE(overlay),
	{ .test = &through_the_daemon, .name = "through_the_daemon", .limit_s = 240 },
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "authority", .cases = cases });
}
