#include "edged/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"

#define LAST_WAIT_NS (2 * NS_PER_SEC) /* for what was killed to be gone: a process that waits for a disk takes its time */
#define LOOK_AGAIN_MS 100

struct keeper {
	pid_t program; /* and its group */
	int signals;
	int64_t grace_ns;
	struct keeper_end end; /* how: 0: it runs */
	int64_t kill_ns;       /* mono; 0: nothing is being ended */
	bool killed;
	bool cut;              /* the socket has ended */
};

static _Noreturn void report(int32_t how, int32_t number)
{
	struct keeper_end end = {how, number};
	ssize_t n = send(KEEPER_FD, &end, sizeof(end), MSG_NOSIGNAL);
	_exit(n == sizeof(end) ? 0 : 1);
}

/* ---- the program ------------------------------------------------------------------------------------------ */

static _Noreturn void become_program(char **command, int error_fd, pid_t keeper)
{
	sigset_t none;
	sigemptyset(&none);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(127); /* it was killed before that */
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(command[0], command);
	int error = errno;
	ssize_t n = write(error_fd, &error, sizeof(error));
	_exit(n > 0 ? 127 : 126);
}

/* The pipes are the program's alone: they end with it. */
static void let_go_of_output(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
}

static pid_t start_program(char **command)
{
	int pipe_fds[2], error = 0;
	pid_t keeper = getpid();
	if (pipe2(pipe_fds, O_CLOEXEC))
		report(KEEPER_NOT_STARTED, errno);
	pid_t pid = fork();
	if (pid < 0)
		report(KEEPER_NOT_STARTED, errno);
	if (pid == 0)
		become_program(command, pipe_fds[1], keeper);
	setpgid(pid, pid); /* whoever is first */
	close(pipe_fds[1]);
	let_go_of_output();
	if (read(pipe_fds[0], &error, sizeof(error)) == sizeof(error))
		report(KEEPER_NOT_STARTED, error);
	close(pipe_fds[0]);
	return pid;
}

/* ---- its end ---------------------------------------------------------------------------------------------- */

static void begin_end(struct keeper *k)
{
	if (k->kill_ns)
		return;
	k->kill_ns = clock_mono_ns() + k->grace_ns;
	kill(-k->program, SIGTERM);
}

/* What it leaves behind becomes our child. */
static void reap(struct keeper *k)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != k->program)
			continue;
		bool exited = WIFEXITED(status);
		k->end = (struct keeper_end){exited ? KEEPER_EXITED : KEEPER_KILLED, exited ? WEXITSTATUS(status) : WTERMSIG(status)};
	}
}

static bool all_gone(const struct keeper *k)
{
	return k->end.how && kill(-k->program, 0) && errno == ESRCH;
}

/* Whether it is over, or as much as can be done about it. */
static bool is_over(struct keeper *k)
{
	reap(k);
	if (all_gone(k))
		return true;
	if (k->end.how)
		begin_end(k);
	if (!k->kill_ns || clock_mono_ns() < k->kill_ns)
		return false;
	if (k->killed)
		return true;
	kill(-k->program, SIGKILL);
	k->killed = true;
	k->kill_ns = clock_mono_ns() + LAST_WAIT_NS;
	return false;
}

static void wait_for_something(struct keeper *k)
{
	struct pollfd fds[2] = {{.fd = k->signals, .events = POLLIN}, {.fd = k->cut ? -1 : KEEPER_FD, .events = POLLIN}};
	struct signalfd_siginfo info;
	if (poll(fds, 2, k->kill_ns ? LOOK_AGAIN_MS : -1) <= 0)
		return;
	if (fds[0].revents && read(k->signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGTERM)
		begin_end(k);
	if (fds[1].revents) {
		k->cut = true;
		begin_end(k);
	}
}

static int watch_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void keeper_main(int argc, char **argv)
{
	if (argc < 2 || fork() != 0)
		_exit(0); /* whoever started us need not wait for more than this */
	setsid();
	fcntl(KEEPER_FD, F_SETFD, FD_CLOEXEC);
	close_range(KEEPER_FD + 1, UINT_MAX, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct keeper k = {.grace_ns = strtol(argv[0], NULL, 10) * NS_PER_MS, .signals = watch_signals()};
	k.program = start_program(argv + 1);
	while (!is_over(&k))
		wait_for_something(&k);
	report(k.end.how ? k.end.how : KEEPER_KILLED, k.end.how ? k.end.number : SIGKILL);
}
