/* A program that runs beside edged: started without blocking, its output as pipes, its end awaited without SIGCHLD. A keeper
 * (keeper.h) is between: however edged ends, nothing of it stays. All calls on one thread. */
#ifndef WEIR_EDGED_PROGRAM_H
#define WEIR_EDGED_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "edged/keeper.h"

struct program_spec {
	char *const *command; /* argv, without a NULL behind it; the first is looked for in $PATH where it has no slash */
	size_t command_count;
	char *const *env;     /* NAME=value, beside what this process has, but for CREDENTIALS_DIRECTORY (and notify_open()'s) */
	size_t env_count;
	const char *folder;   /* that it runs in; NULL: this one */
	unsigned grace_ms;    /* from SIGTERM to SIGKILL */
};

struct program {
	int out, err;    /* what it writes: the reading ends, not blocking */
	int line;        /* to its keeper: readable when program_ended() knows */
	pid_t starter;   /* to be reaped; 0: it was */
};

/* WEIR_EIO: errno says why. stdin is /dev/null, no other descriptor is inherited. */
int program_start(const struct program_spec *s, struct program *ret);
/* How it ended, once that is known; all that it wrote is in the pipes by then. */
bool program_ended(struct program *p, struct keeper_end *ret);
/* SIGTERM to its group, after the grace SIGKILL; program_ended() tells when it is done. */
void program_stop(struct program *p);
/* The same for one that still runs, of which nothing more is heard. */
void program_close(struct program *p);

#endif
