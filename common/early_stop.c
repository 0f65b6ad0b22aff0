#include "common/early_stop.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static void on_stop(int number)
{
	static const char text[] = "level=info module=signal msg=\"stopped while it opens or closes its data\"\n";
	ssize_t done = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)done;
	(void)number;
	_exit(0);
}

/* The loop has not asked for it yet, or no more: what it asks for is read anyway. A handler, as what is ignored would be by programs that
 * this one starts, too. */
static void on_hangup(int number)
{
	(void)number;
}

void early_stop(void)
{
	struct sigaction a = {.sa_handler = on_stop};
	sigemptyset(&a.sa_mask);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGINT, &a, NULL);
	a.sa_handler = on_hangup;
	a.sa_flags = SA_RESTART;
	sigaction(SIGHUP, &a, NULL);
}
