/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - what each role of the sandbox can and cannot do. Each case is a process that enters it and tries.
 *
 * Built without sanitizers and without the harness, which is built with them: they need calls of their own, and here the
 * lists are those of a release. Argument: the name of the cases to run.
 */
#include "daemon/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/aio_abi.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "key.h"
#include "os/os.h"

extern char **environ;

/* Fails the case: a test's line is its exit status (at most 255, and 1 is for exit handlers). */
#define CHECK(condition)                                                                              \
	do {                                                                                          \
		if (!(condition)) {                                                                   \
			char line_[160];                                                              \
			int n_ = snprintf(line_, sizeof(line_), "%s:%d: " #condition " (errno %d)\n", \
			                  __FILE__, __LINE__, errno);                                 \
			if (write(STDERR_FILENO, line_, (size_t)n_) < 0)                              \
				_exit(3);                                                             \
			_exit(2);                                                                     \
		}                                                                                     \
	} while (0)
#define CHECK_FAILS(call, error) CHECK((errno = 0, (call) < 0) && errno == (error))

static const char *self;
static char folder[] = "/tmp/pathbus-sandbox-XXXXXX"; /* with "file" and a folder "sidecar" with "page" */
static pid_t peer;                                    /* has memory at peer_memory */
static int peer_memory, folder_fd, watch_fd;
static int pair_fds[2];

static const char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* --- what works: everybody ------------------------------------------------------------------------- */

static void messages(void)
{
	char bytes[64], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *first = CMSG_FIRSTHDR(&header);

	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = SCM_RIGHTS;
	first->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(first), &folder_fd, sizeof(int));
	CHECK(sendmsg(pair_fds[0], &header, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(bytes));
	CHECK(recvmsg(pair_fds[1], &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == (ssize_t)sizeof(bytes));
	CHECK(send(pair_fds[0], bytes, 1, MSG_NOSIGNAL) == 1 && recv(pair_fds[1], bytes, 1, 0) == 1);
}

static void ordinary(void)
{
	struct rlimit limit;
	void *much = malloc(1 << 22);

	CHECK(much);
	memset(much, 1, 1 << 22);
	much = realloc(much, 1 << 24);
	CHECK(much);
	free(much);
	CHECK(os_now_ns() > 0 && time(NULL) > 0 && getpid() > 0);
	os_random(&limit, sizeof(limit));
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(usleep(1) == 0);
	CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
	if (pair_fds[1] > 0)
		messages();
}

/* --- what works: main ------------------------------------------------------------------------------- */

static void events(void)
{
	int set = os_set_new(), bell = os_bell_new(), timer = os_timer_new();
	struct timeval nothing = { 0, 0 };
	struct pollfd one = { .fd = bell, .events = POLLIN };
	uint64_t tag;
	fd_set fds;

	CHECK(set >= 0 && bell >= 0 && timer >= 0 && os_set_add(set, bell, OS_READ | OS_EDGE, 7) == 0);
	os_bell_ring(bell);
	CHECK(os_set_wait(set, &tag, 1, os_now_ns() + 1000) == 1 && tag == 7);
	CHECK(poll(&one, 1, 0) == 1);
	FD_ZERO(&fds);
	FD_SET(bell, &fds);
	CHECK(select(bell + 1, &fds, NULL, NULL, &nothing) == 1);
	os_timer_set(timer, 1, 0);
	os_timer_clear(timer);
	CHECK(os_bell_fifo_reliable() || !os_bell_fifo_reliable());
}

static void memory(void)
{
	int lane = os_memory_new("lane", 4096), shared = os_shared_new("shared", 8192, false);
	void *death, *map;

	CHECK(os_memory_new_mapped("death", 4096, true, &death) >= 0);
	CHECK(lane >= 0 && shared >= 0 && os_is_sealed(shared));
	CHECK(os_shared_store(shared, 8, 5) == 0 && os_reopen(shared, false) >= 0);
	map = os_map(lane, 4096, true, NULL);
	CHECK(map && os_map(shared, 4096, true, map) == map);
	CHECK(os_may_reserve(4096) == 0);
	(void)os_huge_page_size();
	CHECK(os_death_arm(death) == 0);
	CHECK(madvise(map, 4096, MADV_DONTNEED) == 0);
}

static void sockets(void)
{
	int fd = os_socket_new(), pair[2], one = 65536;
	struct os_peer credentials;

	CHECK(fd >= 0 && os_socket_pair(SOCK_SEQPACKET, pair) == 0);
	CHECK(os_peer_credentials(pair[0], &credentials) == 0 && credentials.pid == getpid());
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &one, sizeof(one)) == 0);
	CHECK(os_unread(pair[0]) == 0);
	os_refuse_descriptors(fd);
	CHECK(os_socket_mark(fd) == 0 && listen(fd, 1) == 0);
	CHECK_FAILS(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
}

static void *nothing(void *arg)
{
	free(malloc(100));
	return arg;
}

static void threads(void)
{
	pthread_t thread;

	(void)sysconf(_SC_NPROCESSORS_ONLN); /* as malloc does, for threads */

	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_detach(thread) == 0);
}

static void processes(void)
{
	char name[32];
	uid_t uid;
	int watch = os_process_watch(getpid());

	CHECK(watch >= 0 || watch == -ENOSYS);
	CHECK(os_process_name(getpid(), &uid, name, sizeof(name)) == 0);
	CHECK(kill(peer, 0) == 0);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void watches(void)
{
	int watch = os_watch_new();

	CHECK(watch >= 0 && os_watch_add(watch, folder_fd) > 0 && os_watch_add_removals(watch, folder_fd) > 0);
	os_watch_remove(watch, 1);
}

static void many_bells(void)
{
	aio_context_t context = 0;
	struct io_event event;
	struct iocb one = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)eventfd(1, EFD_NONBLOCK), .aio_buf = POLLIN };
	struct iocb *all[] = { &one };

	if (syscall(SYS_io_setup, 8, &context) < 0)
		return; /* a kernel without */
	CHECK(syscall(SYS_io_submit, context, 1, all) == 1);
	CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1);
	CHECK(syscall(SYS_io_destroy, context) == 0);
}

static void own_files(void)
{
	CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
	CHECK(unlink(in_folder("file")) == 0);
	CHECK(mkdir("/dev/shm", 0700) < 0 && errno == EEXIST);
	CHECK(open("/etc/passwd", O_PATH) >= 0 && access("/etc/passwd", R_OK) == 0);
}

static void start_program(const char *as)
{
	char *const argv[] = { (char *)(uintptr_t)self, (char *)(uintptr_t)"started", (char *)(uintptr_t)as, NULL };
	int status = -1;
	pid_t pid;

	CHECK(posix_spawn(&pid, self, NULL, NULL, argv, environ) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
}

static void a_worker_is_started(void) { start_program("worker"); }
static void an_agent_is_started(void) { start_program("link"); }

/* --- what works: others ------------------------------------------------------------------------------ */

static void looking(void)
{
	struct place place;
	char path[PATH_MAX];
	int root = os_open_path(AT_FDCWD, "/", true);

	CHECK(place_resolve(-1, in_folder("file"), &place) == 0);
	CHECK(place.exists && place.may_read);
	CHECK(os_path_of(place.dir, path, sizeof(path)) == 0 && strcmp(path, folder) == 0);
	CHECK(os_watch_add(watch_fd, place.dir) > 0);
	place_deinit(&place);
	CHECK(root >= 0 && place_resolve(root, in_folder("file"), &place) == 0);
	CHECK(lstat(folder, &(struct stat){ 0 }) == 0);
}

static void memory_of_another(void)
{
	CHECK(os_shared_of_process(peer, peer_memory, "peers") >= 0);
}

static void memory_of_its_own(void)
{
	CHECK(os_shared_of_process(getpid(), peer_memory, "peers") >= 0);
}

static void memory_hidden(void)
{
	CHECK(os_shared_of_process(peer, peer_memory, "peers") == -EACCES);
}

static void root_hidden(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/root", (int)peer);
	CHECK_FAILS(open(name, O_PATH | O_DIRECTORY | O_CLOEXEC), EACCES);
}

static void asks_for_a_peer(void)
{
	struct os_peer credentials;
	int process = os_peer_watch(pair_fds[0]);

	CHECK(process >= 0 || process == -EOPNOTSUPP);
	CHECK(os_peer_credentials(pair_fds[0], &credentials) == 0);
	process = os_process_watch(peer);
	CHECK(process >= 0 || process == -ENOSYS);
	CHECK(process < 0 || poll(&(struct pollfd){ .fd = process, .events = POLLIN }, 1, 0) == 0);
}

static void sidecar(void)
{
	int dir = openat(folder_fd, "sidecar", O_RDONLY | O_DIRECTORY | O_CLOEXEC), page;
	_Atomic uint32_t *map;
	DIR *list;

	CHECK(dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) == 0);
	page = os_open_own_file(dir, "page");
	CHECK(page >= 0 && os_lock(page, OS_LOCK_SHARED, 0, 1) == 0 && os_lock_is_held(page, 0, 1) == 0);
	CHECK(os_allocate(page, 8192) == 0);
	map = os_map(page, 4096, true, NULL);
	CHECK(map);
	os_futex_wake(map);
	CHECK(os_futex_wait(map, 0, os_now_ns() + 1000) <= 0);
	CHECK(os_rename_new(folder_fd, "sidecar", "away") == 0);
	list = fdopendir(dup(dir));
	CHECK(list && readdir(list));
	CHECK(unlinkat(dir, "page", 0) == 0 && unlinkat(folder_fd, "away", AT_REMOVEDIR) == 0);
}

/* A worker is forked, becomes another user and enters a sandbox of its own. */
static void a_worker(void)
{
	struct sandbox_state state;
	int status = -1;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0) {
			CHECK(setgroups(0, NULL) == 0 && setresgid(4001, 4001, 4001) == 0 && setresuid(4001, 4001, 4001) == 0);
			CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
		}
		CHECK(sandbox_enter(SANDBOX_WORKER, &(struct sandbox_setting){ .system = true }, &state) == 0);
		CHECK(lstat(folder, &(struct stat){ 0 }) == 0 && os_open_path(AT_FDCWD, "/etc/passwd", true) >= 0);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
	CHECK(kill(peer, 0) == 0);
}

static void an_agent_by_its_descriptor(void)
{
	char *const argv[] = { (char *)(uintptr_t)self, (char *)(uintptr_t)"started", (char *)(uintptr_t)"link", NULL };
	char *const none[] = { NULL };
	int program = open(self, O_PATH | O_CLOEXEC), status = -1;
	pid_t pid = fork();

	CHECK(program >= 0 && pid >= 0);
	if (pid == 0) {
		(void)setpgid(0, 0);
		syscall(SYS_execveat, program, "", argv, none, AT_EMPTY_PATH);
		_exit(4);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
}

/* --- what is refused with an error --------------------------------------------------------------------- */

static void reads_a_file(void)
{
	CHECK_FAILS(open("/etc/passwd", O_RDONLY), EACCES);
}

static void writes_a_file(void)
{
	CHECK_FAILS(open(in_folder("sidecar/page"), O_RDWR | O_NONBLOCK | O_CLOEXEC), EACCES);
}

static void reads_a_file_by_openat2(void)
{
	struct open_how how = { .flags = O_RDONLY };

	CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof(how)), EACCES);
}

static void removes_elsewhere(void)
{
	CHECK_FAILS(unlink("/tmp"), EACCES);
}

static void raises_a_limit(void)
{
	CHECK_FAILS(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 10, 10 }), EPERM);
}

static void asks_for_a_terminal(void)
{
	CHECK(!isatty(0) && errno == ENOTTY);
}

static void tries_what_is_new(void)
{
	CHECK_FAILS(syscall(SYS_clone3, NULL, 0), ENOSYS);
	CHECK_FAILS(syscall(500), ENOSYS);
}

/* --- what ends the process ------------------------------------------------------------------------------ */

static void uses_the_network(void) { (void)socket(AF_INET, SOCK_STREAM, 0); }
static void uses_netlink(void) { (void)socket(AF_NETLINK, SOCK_RAW, 0); }
static void makes_a_socket(void) { (void)socket(AF_UNIX, SOCK_STREAM, 0); }
static void connects(void) { (void)connect(pair_fds[0], (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_UNIX }, 2); }
static void traces(void) { (void)ptrace(PTRACE_ATTACH, peer, NULL, NULL); }
static void executes(void) { (void)execve("/bin/true", (char *const[]){ (char *)(uintptr_t)"true", NULL }, environ); }
static void executes_a_descriptor(void) { (void)syscall(SYS_execveat, folder_fd, "file", NULL, NULL, 0); }
static void forks(void) { (void)fork(); }
static void spawns_a_namespace(void) { (void)syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, NULL, NULL, NULL, NULL); }
static void unshares(void) { (void)unshare(CLONE_NEWUSER); }
static void mounts(void) { (void)mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL); }
static void changes_root(void) { (void)chroot("/"); }
static void becomes_another(void) { (void)setuid(1); }
static void maps_code(void) { (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static void maps_writable_code(void) { (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, folder_fd, 0); }
static void maps_shared_code(void) { (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, peer_memory, 0); }

static void makes_code(void)
{
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(map != MAP_FAILED);
	(void)mprotect(map, 4096, PROT_READ | PROT_EXEC);
}

static void makes_a_file(void) { (void)open(in_folder("new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600); }
static void makes_a_nameless_file(void) { (void)open(folder, O_TMPFILE | O_RDWR, 0600); }
static void empties_a_file(void) { (void)open(in_folder("file"), O_RDWR | O_TRUNC); }
static void opens_for_reading(void) { (void)open("/etc/passwd", O_RDONLY | O_CLOEXEC); }
static void makes_a_fifo(void) { (void)mkfifo(in_folder("fifo"), 0600); }
static void links(void) { (void)link(in_folder("file"), in_folder("other")); }
static void removes(void) { (void)unlink(in_folder("file")); }
static void changes_the_mode(void) { (void)chmod(in_folder("file"), 0777); }
static void kills(void) { (void)kill(peer, SIGKILL); }
static void signals(void) { (void)kill(peer, SIGUSR1); }
static void types_into_a_terminal(void) { (void)ioctl(0, TIOCSTI, "x"); }
static void is_dumped(void) { (void)prctl(PR_SET_DUMPABLE, 1); }
static void takes_a_lease(void) { (void)fcntl(watch_fd, F_SETLEASE, F_RDLCK); }
static void takes_a_descriptor(void) { (void)syscall(SYS_pidfd_getfd, 0, 0, 0); }
static void reads_memory(void) { (void)syscall(SYS_process_vm_readv, peer, NULL, 0, NULL, 0, 0); }
static void writes_memory(void) { (void)syscall(SYS_process_vm_writev, peer, NULL, 0, NULL, 0, 0); }
static void loads_a_program(void) { (void)syscall(SYS_bpf, 0, NULL, 0); }
static void uses_rings(void) { (void)syscall(SYS_io_uring_setup, 1, NULL); }
static void changes_the_machine(void) { (void)syscall(SYS_personality, 0x0400000); }
static void filters_again(void) { (void)syscall(SYS_seccomp, 0, 0, NULL); }
#ifdef __x86_64__
static void calls_as_x32(void) { (void)syscall(0x40000000 | SYS_getpid); }
static void calls_as_i386(void)
{
	long n = 20; /* getpid */

	__asm__ volatile("int $0x80" : "+a"(n) : : "memory", "r8", "r9", "r10", "r11");
}
#endif

/* --- what reads the configuration: it is refused what others end by -------------------------------------- */

static void reads_and_looks_up(void)
{
	int status = -1, fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	DIR *dir = opendir("/etc");
	pid_t pid;

	CHECK(fd >= 0 && read(fd, &(char){ 0 }, 1) == 1);
	CHECK(dir && readdir(dir));
	CHECK(getpwnam("root") && getgrgid(0));
	errno = 0;
	CHECK(!getpwnam("nobody-has-this-name") && (errno == 0 || errno == ENOENT));
	/* Names may be told by a service, here or elsewhere. */
	CHECK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 && socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(getgrnam("root") ? 7 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void does_nothing_else(void)
{
	char *const argv[] = { (char *)(uintptr_t)"true", NULL };

	CHECK_FAILS(open(in_folder("new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EPERM);
	CHECK_FAILS(open(in_folder("file"), O_RDWR | O_CLOEXEC), EPERM);
	CHECK_FAILS(unlink(in_folder("file")), EPERM);
	CHECK_FAILS(rename(in_folder("file"), in_folder("other")), EPERM);
	CHECK_FAILS(chmod(in_folder("file"), 0777), EPERM);
	CHECK_FAILS(execve("/bin/true", argv, environ), EPERM);
	CHECK_FAILS(setuid(1), EPERM);
	CHECK_FAILS(unshare(CLONE_NEWUSER), EPERM);
	CHECK_FAILS(ptrace(PTRACE_ATTACH, peer, NULL, NULL), EPERM);
	CHECK_FAILS(kill(peer, SIGUSR1), EPERM);
	CHECK_FAILS(socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	CHECK_FAILS(prctl(PR_SET_DUMPABLE, 1), EPERM);
	CHECK_FAILS(syscall(SYS_bpf, 0, NULL, 0), EPERM);
}

/* --- cases -------------------------------------------------------------------------------------------- */

enum { WORKS, ENDS };
enum { LANDLOCK = 1, ROOT = 2 }; /* what a case needs */
#define CASE(fn) #fn, fn

static const struct test {
	enum sandbox_role role;
	bool system, peers;
	int outcome;
	const char *name;
	void (*fn)(void);
	int needs;
} tests[] = {
	{ SANDBOX_MAIN, true, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(events), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(memory), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(sockets), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(threads), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(processes), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(watches), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(many_bells), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(own_files), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(kills), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(reads_a_file), LANDLOCK },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(writes_a_file), LANDLOCK },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(removes_elsewhere), LANDLOCK },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(memory_hidden), LANDLOCK },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(raises_a_limit), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(asks_for_a_terminal), 0 },
	{ SANDBOX_MAIN, true, false, WORKS, CASE(tries_what_is_new), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(uses_the_network), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(uses_netlink), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(traces), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(executes), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(executes_a_descriptor), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(forks), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(spawns_a_namespace), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(unshares), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(mounts), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(changes_root), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(becomes_another), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(maps_code), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(maps_writable_code), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(maps_shared_code), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(makes_code), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(makes_a_file), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(makes_a_nameless_file), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(makes_a_fifo), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(links), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(changes_the_mode), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(signals), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(types_into_a_terminal), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(is_dumped), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(takes_a_lease), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(takes_a_descriptor), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(reads_memory), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(writes_memory), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(loads_a_program), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(uses_rings), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(changes_the_machine), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(filters_again), 0 },
#ifdef __x86_64__
	{ SANDBOX_MAIN, true, false, ENDS, CASE(calls_as_x32), 0 },
	{ SANDBOX_MAIN, true, false, ENDS, CASE(calls_as_i386), 0 },
#endif

	{ SANDBOX_MAIN, false, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(events), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(memory), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(sockets), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(threads), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(processes), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(watches), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(many_bells), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(own_files), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(a_worker_is_started), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(an_agent_is_started), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(forks), 0 },
	{ SANDBOX_MAIN, false, false, WORKS, CASE(tries_what_is_new), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(uses_the_network), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(traces), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(executes_a_descriptor), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(spawns_a_namespace), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(unshares), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(becomes_another), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(maps_code), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(maps_writable_code), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(maps_shared_code), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(makes_code), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(makes_a_file), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(empties_a_file), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(signals), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(is_dumped), 0 },
	{ SANDBOX_MAIN, false, false, ENDS, CASE(uses_rings), 0 },

	{ SANDBOX_FILES, true, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_FILES, true, false, WORKS, CASE(looking), 0 },
	{ SANDBOX_FILES, true, false, WORKS, CASE(a_worker), 0 },
	{ SANDBOX_FILES, true, false, WORKS, CASE(an_agent_by_its_descriptor), 0 },
	{ SANDBOX_FILES, true, false, WORKS, CASE(memory_of_another), ROOT },
	{ SANDBOX_FILES, true, false, ENDS, CASE(executes), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(uses_the_network), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(traces), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(mounts), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(makes_a_file), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(makes_a_fifo), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(changes_root), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(takes_a_descriptor), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(maps_code), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(makes_code), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(signals), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(loads_a_program), 0 },
	{ SANDBOX_FILES, true, false, ENDS, CASE(spawns_a_namespace), 0 },

	{ SANDBOX_WORKER, false, true, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_WORKER, false, true, WORKS, CASE(looking), 0 },
	{ SANDBOX_WORKER, false, true, WORKS, CASE(memory_of_another), 0 },
	{ SANDBOX_WORKER, false, true, ENDS, CASE(opens_for_reading), 0 },
	{ SANDBOX_WORKER, false, true, ENDS, CASE(makes_a_file), 0 },
	{ SANDBOX_WORKER, true, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_WORKER, true, false, WORKS, CASE(looking), 0 },
	{ SANDBOX_WORKER, true, false, WORKS, CASE(asks_for_a_peer), 0 },
	{ SANDBOX_WORKER, true, true, WORKS, CASE(looking), 0 },
	{ SANDBOX_WORKER, true, true, WORKS, CASE(asks_for_a_peer), 0 },
	{ SANDBOX_WORKER, true, true, ENDS, CASE(memory_of_another), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(memory_of_its_own), 0 },
	{ SANDBOX_WORKER, true, false, WORKS, CASE(root_hidden), LANDLOCK },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(writes_a_file), 0 },
	{ SANDBOX_WORKER, true, false, WORKS, CASE(reads_a_file_by_openat2), LANDLOCK },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(opens_for_reading), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(makes_a_socket), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(connects), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(executes), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(forks), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(becomes_another), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(removes), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(makes_a_fifo), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(changes_the_mode), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(kills), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(maps_code), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(makes_code), 0 },
	{ SANDBOX_WORKER, true, false, ENDS, CASE(filters_again), 0 },

	{ SANDBOX_LINK, false, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_LINK, false, false, WORKS, CASE(events), 0 },
	{ SANDBOX_LINK, false, false, WORKS, CASE(sidecar), 0 },
	{ SANDBOX_LINK, false, false, WORKS, CASE(memory_hidden), LANDLOCK },
	{ SANDBOX_LINK, false, false, ENDS, CASE(makes_a_socket), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(executes), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(forks), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(kills), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(makes_a_file), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(makes_a_fifo), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(links), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(becomes_another), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(maps_code), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(makes_code), 0 },
	{ SANDBOX_LINK, false, false, ENDS, CASE(traces), 0 },

	{ SANDBOX_READER, true, false, WORKS, CASE(ordinary), 0 },
	{ SANDBOX_READER, true, false, WORKS, CASE(reads_and_looks_up), 0 },
	{ SANDBOX_READER, true, false, WORKS, CASE(does_nothing_else), 0 },
	{ SANDBOX_READER, false, false, WORKS, CASE(reads_and_looks_up), 0 },
};

static const char *const roles[] = { "main", "files", "worker", "link" };

/* --- running -------------------------------------------------------------------------------------------- */

static void make_folder(void)
{
	CHECK(mkdtemp(folder) && chmod(folder, 0755) == 0);
	folder_fd = os_open_folder(AT_FDCWD, folder, false);
	CHECK(folder_fd >= 0);
	close(openat(folder_fd, "file", O_WRONLY | O_CREAT, 0600));
	CHECK(mkdirat(folder_fd, "sidecar", 0700) == 0);
	close(openat(folder_fd, "sidecar/page", O_WRONLY | O_CREAT, 0600));
}

static void remove_folder(void)
{
	static const char *const names[] = { "file", "new", "fifo", "other", "sidecar/page", "away/page" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(folder_fd, names[i], 0);
	(void)unlinkat(folder_fd, "sidecar", AT_REMOVEDIR);
	(void)unlinkat(folder_fd, "away", AT_REMOVEDIR);
	(void)rmdir(folder);
	close(folder_fd);
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
}

static pid_t start_peer(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void try(const struct test *test)
{
	const char *const own[] = { folder, NULL };
	struct sandbox_setting setting = { .system = test->system, .peers = test->peers, .own_folders = own };
	struct sandbox_state state;
	int r;

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	r = sandbox_enter(test->role, &setting, &state);
	if (r < 0) {
		fprintf(stderr, "no sandbox: %s\n", state.text);
		_exit(77);
	}
	test->fn();
	_exit(0);
}

/* Returns whether all was as it should be; 77: there is no sandbox. */
static int run(const struct test *test)
{
	int status = -1, good;
	pid_t pid;

	make_folder();
	peer_memory = os_shared_new("peers", 4096, false);
	watch_fd = os_watch_new();
	CHECK(peer_memory >= 0 && watch_fd >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair_fds) == 0);
	peer = start_peer();
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		try(test);
	CHECK(waitpid(pid, &status, 0) == pid);
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	close(peer_memory);
	close(watch_fd);
	close(pair_fds[0]);
	close(pair_fds[1]);
	remove_folder();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return 77;
	good = test->outcome == WORKS ? WIFEXITED(status) && WEXITSTATUS(status) == 0 : sandbox_has_killed(status);
	if (!good)
		printf("FAILED: %s%s: %s: ended with %s %d, not with %s\n", roles[test->role], test->system ? " (system)" : "", test->name,
		       WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
		       test->outcome == WORKS ? "status 0" : "SIGSYS");
	return good;
}

/* The program that main of a user's daemon starts: it is held by main's filter already. */
static int started(const char *as)
{
	enum sandbox_role role = strcmp(as, "link") == 0 ? SANDBOX_LINK : SANDBOX_WORKER;
	struct sandbox_state state;

	CHECK(sandbox_enter(role, &(struct sandbox_setting){ .peers = true }, &state) == 0);
	ordinary();
	CHECK(open("/", role == SANDBOX_LINK ? O_RDONLY | O_DIRECTORY : O_PATH) >= 0);
	return 0;
}

int main(int argc, char **argv)
{
	const size_t n_tests = sizeof(tests) / sizeof(tests[0]);
	bool has_landlock = syscall(444, NULL, 0, 1) > 0;
	unsigned n_failed = 0, n_left_out = 0;

	self = argv[0];
	if (argc > 2 && strcmp(argv[1], "started") == 0)
		return started(argv[2]);
	for (size_t i = 0; i < n_tests; i++) {
		if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
			continue;
		if (((tests[i].needs & LANDLOCK) && !has_landlock) || ((tests[i].needs & ROOT) && geteuid() != 0)) {
			n_left_out++;
			continue;
		}
		switch (run(&tests[i])) {
		case 77:
			printf("SKIP: seccomp cannot be used here\n");
			return 77;
		case 0:
			n_failed++;
		}
	}
	printf("%zu cases, %u failed, %u left out%s%s\n", n_tests, n_failed, n_left_out, has_landlock ? "" : "; no Landlock here",
	       geteuid() == 0 ? "" : "; not root");
	return n_failed > 0;
}
