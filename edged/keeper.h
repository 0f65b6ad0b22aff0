/* The keeper: a small process between edged and a program that it runs, so that nothing of the program stays behind, however edged
 * ends. It is this same executable, started again:
 *
 *     edged --spawn--> starter --fork, exits--> keeper --fork--> the program, in a process group of its own
 *       |                                         |
 *       +------- descriptor 3: a socket ----------+   end of file: edged wants an end of it, or is gone (kill -9)
 *                                                     one struct keeper_end: how the program ended, and its group with it
 *
 * An end: SIGTERM to the group, and SIGKILL after the grace. When the program has ended by itself what is left of its group is
 * ended in the same way. Should the keeper be killed, the program (not its children) is killed with it. */
#ifndef WEIR_EDGED_KEEPER_H
#define WEIR_EDGED_KEEPER_H

#include <stdint.h>

#define KEEPER_ARGUMENT "--keep-program" /* argv[1]; then the grace in ms, then the command */
#define KEEPER_FD 3

enum keeper_how { KEEPER_EXITED = 1, KEEPER_KILLED, KEEPER_NOT_STARTED };

/* Between two runs of one executable on one machine: no format. */
struct keeper_end {
	int32_t how;
	int32_t number; /* exit code, signal, errno */
};

/* main() of it, for argv behind KEEPER_ARGUMENT. Does not return. */
_Noreturn void keeper_main(int argc, char **argv);

#endif
