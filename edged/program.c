#include "edged/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/err.h"

#define CHILD_FD_MIN 10 /* above those that the keeper has them at */
#define SELF "/proc/self/exe"

enum { OUT, ERR, LINE, ENDS };

/* Of each, ours and the child's. */
struct ends {
	int ours[ENDS], theirs[ENDS];
};

static void close_all(int *fds)
{
	for (int i = 0; i < ENDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int lift(int fd)
{
	int lifted = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FD_MIN);
	int error = errno;
	close(fd);
	errno = error;
	return lifted;
}

static int open_ends(struct ends *e)
{
	for (int i = 0; i < ENDS; i++)
		e->ours[i] = e->theirs[i] = -1;
	for (int i = 0; i < ENDS; i++) {
		int fds[2];
		if (i == LINE ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) : pipe2(fds, O_CLOEXEC))
			return -1;
		e->ours[i] = fds[0];
		e->theirs[i] = lift(fds[1]);
		if (e->theirs[i] < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK))
			return -1;
	}
	return 0;
}

static int add_actions(posix_spawn_file_actions_t *a, const struct ends *e, const char *folder)
{
	int rc = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(a, e->theirs[OUT], STDOUT_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(a, e->theirs[ERR], STDERR_FILENO);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(a, e->theirs[LINE], KEEPER_FD);
	if (!rc && folder)
		rc = posix_spawn_file_actions_addchdir_np(a, folder);
	return rc;
}

/* Signals as they are at the start of a program: what we ignore or block is our affair. */
static int set_attributes(posix_spawnattr_t *a)
{
	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	int rc = posix_spawnattr_setsigdefault(a, &all);
	if (!rc)
		rc = posix_spawnattr_setsigmask(a, &none);
	if (!rc)
		rc = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	return rc;
}

static int spawn(const struct ends *e, const char *folder, char **argv, char **env, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	int rc = add_actions(&actions, e, folder);
	if (!rc)
		rc = set_attributes(&attributes);
	if (!rc)
		rc = posix_spawn(ret_pid, SELF, &actions, &attributes, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return rc;
}

static char **arguments(const struct program_spec *s, char *grace)
{
	char **argv = xcalloc(s->command_count + 4, sizeof(argv[0]));
	argv[0] = (char *)(uintptr_t)"edged";
	argv[1] = (char *)(uintptr_t)KEEPER_ARGUMENT;
	argv[2] = grace;
	for (size_t i = 0; i < s->command_count; i++)
		argv[3 + i] = s->command[i];
	return argv;
}

/* Whether one of those sets the same variable. */
static bool is_set(char *const *env, size_t count, const char *variable)
{
	size_t name = strcspn(variable, "=") + 1, i = 0;
	while (i < count && strncmp(env[i], variable, name))
		i++;
	return i < count;
}

/* Secrets that a service manager hands to this daemon are not for what it starts. */
static bool is_ours(const char *variable)
{
	static const char ours[] = "CREDENTIALS_DIRECTORY=";
	return !strncmp(variable, ours, sizeof(ours) - 1);
}

static char **environment(const struct program_spec *s)
{
	size_t n = 0, count = 0;
	while (environ[n])
		n++;
	char **env = xcalloc(n + s->env_count + 1, sizeof(env[0]));
	for (size_t i = 0; i < n; i++)
		if (!is_set(s->env, s->env_count, environ[i]) && !is_ours(environ[i]))
			env[count++] = environ[i];
	for (size_t i = 0; i < s->env_count; i++)
		env[count++] = s->env[i];
	return env;
}

int program_start(const struct program_spec *s, struct program *ret)
{
	struct ends e;
	char grace[16];
	pid_t pid = 0;
	int rc = open_ends(&e) ? errno : 0;
	if (!rc) {
		snprintf(grace, sizeof(grace), "%u", s->grace_ms);
		char **argv = arguments(s, grace), **env = environment(s);
		rc = spawn(&e, s->folder, argv, env, &pid);
		free(argv);
		free(env);
	}
	close_all(e.theirs);
	if (rc) {
		close_all(e.ours);
		errno = rc;
		return WEIR_EIO;
	}
	*ret = (struct program){.out = e.ours[OUT], .err = e.ours[ERR], .line = e.ours[LINE], .starter = pid};
	return 0;
}

static void reap(struct program *p, int options)
{
	if (p->starter && waitpid(p->starter, NULL, options) == p->starter)
		p->starter = 0;
}

bool program_ended(struct program *p, struct keeper_end *ret)
{
	struct keeper_end end;
	reap(p, WNOHANG);
	ssize_t n = recv(p->line, &end, sizeof(end), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* A keeper that ends without a word was killed, and the program with it. */
	*ret = n == sizeof(end) ? end : (struct keeper_end){KEEPER_KILLED, SIGKILL};
	return true;
}

void program_stop(struct program *p)
{
	shutdown(p->line, SHUT_WR);
}

void program_close(struct program *p)
{
	close(p->line);
	close(p->out);
	close(p->err);
	reap(p, 0); /* it ends at once, whatever becomes of the program */
}
