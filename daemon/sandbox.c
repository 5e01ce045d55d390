/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - the system calls of each process of the daemon, by name (seccomp).
 *
 * A name stands for what a C library makes of it: the lists hold all the ways in which glibc 2.31 to 2.41 and musl ask for
 * the same thing, on machines with 32 and 64 bits. A call that is in no list ends the process, and the kernel's log
 * names it. A few that libraries only try are refused with an error instead; each says why.
 *
 * Only the call's registers can be looked at, not what they point to. So clone3 and openat2 cannot be told apart by
 * their flags: the first is refused as one that is not there (libraries then use clone), the second is the worker's alone.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox_landlock.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

/* Newer than the headers of the oldest system we build on. */
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#endif

/* Calls from here on are younger than these lists. */
enum { FIRST_UNKNOWN = 442, FIRST_UNHEARD_OF = 512 };

/* --- lists ----------------------------------------------------------------------------------------- */

/* Whoever runs at all: memory, time, its own descriptors, its own signals, its end. */
static const char *const calls_of_all[] = {
	"brk", "munmap", "mremap", "madvise", "futex", "futex_time64", "get_robust_list", "set_robust_list", "rseq", "set_tid_address",
	"exit", "exit_group", "restart_syscall", "rt_sigreturn", "sigreturn", "rt_sigaction", "rt_sigprocmask", "sigaltstack",
	"read", "write", "readv", "writev", "close", "fstat", "fstat64", "newfstatat", "fstatat64", "statx", "lseek", "_llseek",
	"clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64", "gettimeofday", "time", "nanosleep",
	"clock_nanosleep", "clock_nanosleep_time64", "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid",
	"getgroups", "getuid32", "geteuid32", "getgid32", "getegid32", "getgroups32", "getrandom", "getrlimit", "ugetrlimit", "sched_yield",
	"sched_getaffinity", "sysinfo", "uname", "getcpu", "poll", "ppoll", "ppoll_time64", NULL,
};

/* By path or by folder, without opening: what kind of file, and what may its user do? */
static const char *const calls_for_looking[] = {
	"stat", "lstat", "stat64", "lstat64", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "statfs", "statfs64",
	"fstatfs", "fstatfs64", "getxattr", "lgetxattr", NULL,
};

static const char *const calls_for_events[] = {
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "select", "_newselect", "pselect6",
	"pselect6_time64", "eventfd", "eventfd2", "pipe", "pipe2", "timerfd_create", "timerfd_settime", "timerfd_settime64",
	"timerfd_gettime", "timerfd_gettime64", NULL,
};

/* "recv" and "send" are calls of their own on some machines. */
static const char *const calls_for_messages[] = {
	"sendmsg", "recvmsg", "sendto", "recvfrom", "send", "recv", NULL,
};

static const char *const calls_of_main[] = {
	"accept4", "accept", "connect", "bind", "listen", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt",
	/* lanes and regions */
	"memfd_create", "ftruncate", "ftruncate64", "fchmod", "fallocate", "pread64", "pwrite64", "dup", "dup2", "dup3",
	/* its socket, its lock and the runtime folder */
	"mkdir", "mkdirat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "chdir", "getcwd",
	"inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
	/* helpers and clients that end */
	"wait4", "waitid", "waitpid", "pidfd_open", "pidfd_send_signal",
	/* ringing many bells at once */
	"io_setup", "io_submit", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_destroy", "io_cancel", NULL,
};

static const char *const calls_of_worker[] = {
	"openat2", "inotify_add_watch", "getsockopt", "pidfd_open", NULL,
};

/* In the daemon of all users they make their user's runtime folder, as that one's own daemon would. */
static const char *const calls_for_runtime_folder[] = {
	"mkdir", "mkdirat", NULL,
};

/* Becoming a client, and forking what then looks as that one. */
static const char *const calls_of_files[] = {
	"fork", "wait4", "waitid", "waitpid", "dup", "dup2", "dup3", "setresuid", "setresgid", "getresuid", "getresgid", "setgroups",
	"setresuid32", "setresgid32", "getresuid32", "getresgid32", "setgroups32", "capget", "capset", "setsid", "close_range",
	"getsockname", NULL,
};

/* Sidecars are mapped, locked, renamed away and removed. */
static const char *const calls_of_link[] = {
	"dup", "dup2", "dup3", "pread64", "pwrite64", "ftruncate", "ftruncate64", "fallocate", "flock", "fchmod", "fchmodat",
	"fchmodat2", "getdents", "getdents64", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2",
	NULL,
};

/* It is not known what a module for names asks of the kernel. What is not here is refused to it, and does not end it. */
static const char *const calls_of_reader[] = {
	"connect", "bind", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendmmsg", "recvmmsg",
	"recvmmsg_time64", "fork", "wait4", "waitid", "waitpid", "dup", "dup2", "dup3", "pread64", "getdents", "getdents64", "flock",
	"umask", "getcwd", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", NULL,
};

/* Starting a program, up to where its own filter is in place. */
static const char *const calls_for_starting[] = {
	"setpgid", "close_range", "pread64", "arch_prctl", "set_thread_area", "set_tls", "getcwd", "umask",
	"riscv_hwprobe", "riscv_flush_icache", NULL,
};

static const char *const calls_for_sandboxes[] = {
	"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", NULL,
};

/*
 * Only in builds with a sanitizer: it looks for leaks at the end, in a thread that traces the others, and reads what
 * /proc tells of this process. Nothing else differs in such builds (but openat, below).
 */
static const char *const calls_of_sanitizers[] = {
	"clone", "ptrace", "wait4", "prctl", "tgkill", "tkill", "kill", "prlimit64", "setrlimit", "getrusage", "personality", "getdents", "getdents64",
	"readlink", "readlinkat", "getcwd", "process_vm_readv", "mincore", "msync", "dup2", "pipe", "pipe2", "pread64",
	"open", "openat", "fcntl", "ioctl", "sched_setaffinity", "access", "stat", "lstat", "arch_prctl", NULL,
};

/* --- building the filter ----------------------------------------------------------------------------- */

struct filter {
	scmp_filter_ctx context;
	uint32_t otherwise; /* what becomes of calls without a rule */
	int error; /* the first */
	bool known[FIRST_UNHEARD_OF]; /* calls of which there is some rule */
	bool whole[FIRST_UNHEARD_OF]; /* and those that are allowed whatever their arguments */
};

static void add(struct filter *filter, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *comparisons)
{
	int number = seccomp_syscall_resolve_name(name), r;

	/* This machine, or the library that makes filters, knows no such call; or there need be no rule, and may not be. */
	if (number == __NR_SCMP_ERROR || action == filter->otherwise)
		return;
	if (number >= 0 && number < FIRST_UNHEARD_OF) {
		if (filter->whole[number])
			return;
		filter->known[number] = true;
		filter->whole[number] = action == SCMP_ACT_ALLOW && n == 0;
	}
	if (action == filter->otherwise)
		return; /* a rule may not say what is so without it */
	r = seccomp_rule_add_array(filter->context, action, number, n, comparisons);
	if (r < 0 && r != -EDOM && r != -EEXIST && filter->error == 0)
		filter->error = r;
}

static void allow(struct filter *filter, const char *const *names)
{
	for (; *names; names++)
		add(filter, SCMP_ACT_ALLOW, *names, 0, NULL);
}

/* The call `name` when argument `index`, under `mask`, is `value`; of the words of 64 bits only the lower half where
 * the kernel takes no more. */
static void allow_if(struct filter *filter, const char *name, unsigned index, uint64_t mask, uint64_t value)
{
	add(filter, SCMP_ACT_ALLOW, name, 1, (struct scmp_arg_cmp[]){ { index, SCMP_CMP_MASKED_EQ, mask, value } });
}

static void fail_if(struct filter *filter, int error, const char *name, unsigned index, uint64_t value)
{
	add(filter, SCMP_ACT_ERRNO((uint32_t)error), name, 1,
	    (struct scmp_arg_cmp[]){ { index, SCMP_CMP_MASKED_EQ, UINT32_MAX, value } });
}

static void fail(struct filter *filter, int error, const char *name)
{
	add(filter, SCMP_ACT_ERRNO((uint32_t)error), name, 0, NULL);
}

/* --- calls with conditions --------------------------------------------------------------------------- */

static const char *const mappings[] = { "mmap", "mmap2", NULL };

/* No memory becomes a program. */
static void add_memory(struct filter *filter)
{
	for (const char *const *name = mappings; *name; name++)
		allow_if(filter, *name, 2, PROT_EXEC, 0);
	allow_if(filter, "mprotect", 2, PROT_EXEC, 0);
}

static void add_descriptor_commands(struct filter *filter)
{
	static const int commands[] = {
		F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS, F_OFD_SETLK, F_OFD_GETLK,
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		allow_if(filter, "fcntl", 1, UINT32_MAX, (uint64_t)commands[i]);
		allow_if(filter, "fcntl64", 1, UINT32_MAX, (uint64_t)commands[i]);
	}
}

/* What libraries try, and do without. */
static void add_attempts(struct filter *filter)
{
	/* Is it a terminal? glibc and musl ask so of streams before they first write. */
	fail_if(filter, ENOTTY, "ioctl", 1, TCGETS);
	fail_if(filter, ENOTTY, "ioctl", 1, TIOCGWINSZ);
	fail_if(filter, ENOTTY, "ioctl", 1, 0x802c542a); /* TCGETS2, glibc 2.42 */
	/* A name for a piece of memory, where glibc 2.41 is so tuned. */
	fail_if(filter, EINVAL, "prctl", 0, PR_SET_VMA);
	/* Its flags cannot be looked at; they can in clone, which is taken instead. */
	fail(filter, ENOSYS, "clone3");
	/* The soft limit of open files, by a library that wants fewer. Looking is allowed. */
	add(filter, SCMP_ACT_ALLOW, "prlimit64", 1, (struct scmp_arg_cmp[]){ { 2, SCMP_CMP_EQ, 0, 0 } });
	add(filter, SCMP_ACT_ERRNO(EPERM), "prlimit64", 1, (struct scmp_arg_cmp[]){ { 2, SCMP_CMP_NE, 0, 0 } });
	/* abort(). */
	allow_if(filter, "tgkill", 2, UINT32_MAX, SIGABRT);
	allow_if(filter, "tkill", 1, UINT32_MAX, SIGABRT);
}

/* A C library that is younger than these lists tries what is younger than they are, and does without. The numbers are
 * the same on all machines. */
static void add_unknown(struct filter *filter)
{
	for (int number = FIRST_UNKNOWN; number < FIRST_UNHEARD_OF; number++)
		if (!filter->known[number]) {
			int r = seccomp_rule_add(filter->context, SCMP_ACT_ERRNO(ENOSYS), number, 0);

			if (r < 0 && r != -EDOM && r != -EEXIST && filter->error == 0)
				filter->error = r;
		}
}

static void add_sockets(struct filter *filter)
{
	allow_if(filter, "socket", 0, UINT32_MAX, AF_UNIX);
	allow_if(filter, "socketpair", 0, UINT32_MAX, AF_UNIX);
}

/* Threads, or children of one kind: what is of interest in `flags` is as in `kind`, and no namespace is begun. */
static void add_clones(struct filter *filter, uint64_t flags, uint64_t kind)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
	                            CLONE_NEWNET;

	/* s390 has the first two arguments the other way round, and no other machine does. */
	allow_if(filter, "clone", seccomp_arch_native() == SCMP_ARCH_S390X ? 1 : 0, flags | namespaces, kind);
}

#define ACCESS_MODE (O_WRONLY | O_RDWR) /* musl counts O_PATH among O_ACCMODE */
/* What makes a file, or changes one by being opened. */
#define WRITING ((uint64_t)(ACCESS_MODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)))

static void add_opening(struct filter *filter, uint64_t mask, uint64_t flags)
{
	allow_if(filter, "open", 1, mask, flags);
	allow_if(filter, "openat", 2, mask, flags);
}

/* The workers': O_PATH, or memory that a client holds (os_shared_of_process), which is opened in one way. */
static void add_opening_of_worker(struct filter *filter, bool memory)
{
	add_opening(filter, O_PATH, O_PATH);
	if (memory)
		add_opening(filter, WRITING | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

/* --- roles ------------------------------------------------------------------------------------------- */

static void add_worker(struct filter *filter)
{
	allow(filter, calls_for_looking);
	allow(filter, calls_for_messages);
	allow(filter, calls_of_worker);
}

static void add_link(struct filter *filter)
{
	allow(filter, calls_for_looking);
	allow(filter, calls_for_messages);
	allow(filter, calls_for_events);
	allow(filter, calls_of_link);
	/* It joins, so it makes no file. */
	add_opening(filter, WRITING, O_RDONLY);
	add_opening(filter, WRITING, O_RDWR);
}

/* What a program needs to start: the filter is inherited. */
static void add_starting(struct filter *filter)
{
	/* no_new_privs, and the older way to set a filter */
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_SET_NO_NEW_PRIVS);
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_GET_NO_NEW_PRIVS);
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_SET_SECCOMP);
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_GET_SECCOMP);
	allow(filter, calls_for_starting);
	allow(filter, calls_for_sandboxes);
	/* A program and its libraries, as they are in their files; never memory that is written. */
	for (const char *const *name = mappings; *name; name++)
		add(filter, SCMP_ACT_ALLOW, *name, 2,
		    (struct scmp_arg_cmp[]){ { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC },
		                             { 3, SCMP_CMP_MASKED_EQ, MAP_SHARED | MAP_ANONYMOUS, 0 } });
}

/* log_file.c has the same. */
static void add_opening_of_log(struct filter *filter)
{
	add_opening(filter, WRITING | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_PATH,
	            O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static void add_main(struct filter *filter, const struct sandbox_setting *setting)
{
	bool is_system = setting->system;

	if (setting->log_folder)
		add_opening_of_log(filter);
	allow(filter, calls_for_looking);
	allow(filter, calls_for_events);
	allow(filter, calls_for_messages);
	allow(filter, calls_of_main);
	add_sockets(filter);
	add_clones(filter, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD);
	/* How much is there to read: an event buffer asks. */
	allow_if(filter, "ioctl", 1, UINT32_MAX, FIONREAD);
	allow_if(filter, "ioctl", 1, UINT32_MAX, SIOCOUTQ); /* what a client has not taken */
	/* Is it there, and its end. Others are protected by whose they are. */
	allow_if(filter, "kill", 1, UINT32_MAX, 0);
	allow_if(filter, "kill", 1, UINT32_MAX, SIGKILL);
	allow_if(filter, "kill", 1, UINT32_MAX, SIGTERM);
	/* A word into a mapping of its own that may have holes; else done by write. */
	allow_if(filter, "process_vm_writev", 0, UINT32_MAX, (uint64_t)getpid());
	if (is_system) {
		/* No file is made: what it opens is there. Landlock says which. */
		add_opening(filter, WRITING & ~(uint64_t)ACCESS_MODE, 0);
		return;
	}
	add_starting(filter);
	add(filter, SCMP_ACT_ALLOW, "execve", 0, NULL);
	/* posix_spawn: a child that waits for nothing but to be another program */
	add_clones(filter, CLONE_VM | CLONE_VFORK | CLONE_THREAD, CLONE_VM | CLONE_VFORK);
	add_worker(filter);
	add_link(filter);
}

static void add_files(struct filter *filter)
{
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_SET_DUMPABLE);
	allow_if(filter, "prctl", 0, UINT32_MAX, PR_CAP_AMBIENT);
	allow(filter, calls_of_files);
	allow_if(filter, "fcntl", 1, UINT32_MAX, F_DUPFD);
	allow_if(filter, "fcntl64", 1, UINT32_MAX, F_DUPFD);
	allow_if(filter, "kill", 1, UINT32_MAX, 0);
	allow_if(filter, "kill", 1, UINT32_MAX, SIGKILL);
	add_sockets(filter);
	add_clones(filter, CLONE_VM | CLONE_THREAD, 0);
	add_worker(filter);
	add_opening_of_worker(filter, true);
	/* The link agent, which is known by its descriptor, and its calls; no program is started by its name. */
	add_starting(filter);
	allow_if(filter, "execveat", 4, UINT32_MAX, AT_EMPTY_PATH);
	add_link(filter);
}

static void add_reader(struct filter *filter)
{
	static const uint64_t domains[] = { AF_INET, AF_INET6, AF_NETLINK };

	allow(filter, calls_for_looking);
	allow(filter, calls_for_events);
	allow(filter, calls_for_messages);
	allow(filter, calls_of_reader);
	add_opening(filter, WRITING, O_RDONLY);
	add_sockets(filter);
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
		allow_if(filter, "socket", 0, UINT32_MAX, domains[i]);
	/* A child that reads, and what a library has run beside it. */
	add_clones(filter, CLONE_VM | CLONE_THREAD, 0);
	add_clones(filter, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD);
	allow_if(filter, "kill", 1, UINT32_MAX, SIGKILL);
	allow_if(filter, "ioctl", 1, UINT32_MAX, FIONREAD);
	/* Modules are loaded as they are in their files. */
	for (const char *const *name = mappings; *name; name++)
		add(filter, SCMP_ACT_ALLOW, *name, 2,
		    (struct scmp_arg_cmp[]){ { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC },
		                             { 3, SCMP_CMP_MASKED_EQ, MAP_SHARED | MAP_ANONYMOUS, 0 } });
}

static void add_role(struct filter *filter, enum sandbox_role role, const struct sandbox_setting *setting)
{
	if (IS_SANITIZED)
		allow(filter, calls_of_sanitizers);
	allow(filter, calls_of_all);
	add_memory(filter);
	add_descriptor_commands(filter);
	switch (role) {
	case SANDBOX_MAIN:
		add_main(filter, setting);
		break;
	case SANDBOX_FILES:
		add_files(filter);
		break;
	case SANDBOX_WORKER:
		add_worker(filter);
		add_opening_of_worker(filter, !setting->system);
		if (setting->system)
			allow(filter, calls_for_runtime_folder);
		break;
	case SANDBOX_LINK:
		add_link(filter);
		break;
	case SANDBOX_READER:
		add_reader(filter);
		break;
	}
	add_attempts(filter);
	add_unknown(filter);
}

/* --- entering ---------------------------------------------------------------------------------------- */

/* Those that are asked for at each post that is carried, and at each opening: looked for first. */
static void add_priorities(struct filter *filter)
{
	static const char *const often[] = { "write", "read", "epoll_wait", "epoll_pwait", "sendmsg", "recvmsg", "close", "io_submit" };

	for (size_t i = 0; i < sizeof(often) / sizeof(often[0]); i++) {
		int number = seccomp_syscall_resolve_name(often[i]);

		if (number >= 0)
			(void)seccomp_syscall_priority(filter->context, number, (uint8_t)(255 - i));
	}
}

static int set_attributes(struct filter *filter)
{
	int r;

	/* Other machines' calls (32 bits, x32) end the process like unknown ones. */
	r = seccomp_attr_set(filter->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_NNP, 1);
	/* Its other threads too, if it has any. */
	if (r == 0)
		r = seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Nobody else's code runs here, so the processor may go on guessing: some kernels would slow it down for the filter's
	 * sake. Older libraries know neither this nor how to tell the true error. */
	(void)seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_SSB, 1);
	(void)seccomp_attr_set(filter->context, SCMP_FLTATR_API_SYSRAWRC, 1);
	return r;
}

static int enter_seccomp(enum sandbox_role role, const struct sandbox_setting *setting)
{
	struct filter filter = { .otherwise = role == SANDBOX_READER ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS };
	int r;

	filter.context = seccomp_init(filter.otherwise);
	if (!filter.context)
		return -ENOMEM;
	r = set_attributes(&filter);
	if (r == 0) {
		add_role(&filter, role, setting);
		add_priorities(&filter);
		r = filter.error;
	}
	if (r == 0)
		r = seccomp_load(filter.context);
	seccomp_release(filter.context);
	return r;
}

/* NULL: Landlock is of use to it. */
static const char *without_landlock(enum sandbox_role role, const struct sandbox_setting *setting)
{
	switch (role) {
	case SANDBOX_MAIN:
		return setting->system ? NULL : "a user's daemon starts workers at any time";
	case SANDBOX_FILES:
		return "it starts workers";
	case SANDBOX_WORKER:
		return setting->peers ? "clients are looked at by /proc" : NULL;
	case SANDBOX_LINK:
	case SANDBOX_READER:
		break;
	}
	return NULL;
}

int sandbox_enter(enum sandbox_role role, const struct sandbox_setting *setting, struct sandbox_state *ret)
{
	const char *why = without_landlock(role, setting);
	int version = 0, r = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		r = -errno;
		snprintf(ret->text, sizeof(ret->text), "no_new_privs: %s", strerror(-r));
		return r;
	}
	if (!why)
		version = sandbox_landlock_version(&why);
	if (version > 0) {
		r = sandbox_landlock_enter(role, setting, version);
		if (r < 0) {
			version = 0;
			why = strerror(-r);
		}
	}
	r = enter_seccomp(role, setting);
	if (r < 0)
		snprintf(ret->text, sizeof(ret->text), "seccomp: %s", strerror(-r));
	else if (version > 0)
		snprintf(ret->text, sizeof(ret->text), "seccomp, landlock ABI %d", version);
	else
		snprintf(ret->text, sizeof(ret->text), "seccomp, no landlock (%s)", why);
	return r;
}

bool sandbox_has_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}
