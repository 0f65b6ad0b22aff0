#include "ctl/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "common/err.h"

/* The other screen, without a cursor, and nothing goes on in the next line; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"
#define ESCAPE_MS 25 /* from an escape to what follows it in the same key */

static struct termios before;
static volatile sig_atomic_t is_open, redraw;

/* ---- what signal handlers call, too --------------------------------------------------------------------------- */

static void say(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, text, len);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

/* Lines are not waited for and not echoed; Ctrl-C and Ctrl-Z stay signals. */
static int enter(void)
{
	struct termios raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		return WEIR_EIO;
	say(ENTER, sizeof(ENTER) - 1);
	return 0;
}

static void leave(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
	say(LEAVE, sizeof(LEAVE) - 1);
}

static void on_end(int number)
{
	(void)number;
	if (is_open)
		leave();
	_exit(0);
}

static void on_suspend(int number)
{
	(void)number;
	int error = errno;
	leave();
	raise(SIGSTOP);
	enter();
	redraw = 1;
	errno = error;
}

/* Of a stop that was not ours to see, too. */
static void on_change(int number)
{
	int error = errno;
	if (number == SIGCONT && is_open)
		enter();
	redraw = 1;
	errno = error;
}

/* ---- outside -------------------------------------------------------------------------------------------------- */

bool terminal_is_one(void)
{
	const char *term = getenv("TERM");
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static void catch(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};
	sigfillset(&action.sa_mask);
	sigaction(number, &action, NULL);
}

int terminal_open(void)
{
	if (tcgetattr(STDIN_FILENO, &before) || enter())
		return WEIR_EIO;
	is_open = 1;
	atexit(terminal_close);
	catch(SIGINT, on_end);
	catch(SIGTERM, on_end);
	catch(SIGHUP, on_end);
	catch(SIGQUIT, on_end);
	catch(SIGTSTP, on_suspend);
	catch(SIGCONT, on_change);
	catch(SIGWINCH, on_change);
	return 0;
}

void terminal_close(void)
{
	if (!is_open)
		return;
	is_open = 0;
	leave();
}

void terminal_size(size_t *ret_lines, size_t *ret_columns)
{
	struct winsize w = {0};
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	*ret_lines = w.ws_row ? w.ws_row : 24;
	*ret_columns = w.ws_col ? w.ws_col : 80;
}

/* A byte, -1: none in time, -2: there will be none any more. */
static int read_byte(int64_t timeout_ms)
{
	struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned char byte;
	int n = poll(&fd, 1, (int)timeout_ms);
	if (n <= 0)
		return -1;
	ssize_t got = read(STDIN_FILENO, &byte, 1);
	if (got == 1)
		return byte;
	return got < 0 && (errno == EINTR || errno == EAGAIN) ? -1 : -2;
}

/* What follows an escape: ESC [ A, ESC O A, ESC [ 5 ~ */
static int escape_key(void)
{
	int first = read_byte(ESCAPE_MS), key = KEY_NONE, byte = 0;
	if (first != '[' && first != 'O')
		return 256 + KEY_NONE;
	for (int i = 0; i < 8 && (byte < '@' || byte > '~'); i++) {
		int last = byte;
		byte = read_byte(ESCAPE_MS);
		if (byte < 0)
			break;
		key = byte == 'A' ? KEY_UP : byte == 'B' ? KEY_DOWN : byte == '~' && last == '5' ? KEY_PAGE_UP : byte == '~' && last == '6' ? KEY_PAGE_DOWN : KEY_NONE;
	}
	return 256 + key;
}

int terminal_key(int64_t timeout_ms)
{
	int byte = redraw ? -1 : read_byte(timeout_ms);
	if (byte == -1 && redraw) {
		redraw = 0;
		return 256 + KEY_REDRAW;
	}
	if (byte == '\033')
		return escape_key();
	return byte >= 0 ? byte : byte == -2 ? 256 + KEY_END_OF_INPUT : 256 + KEY_NONE;
}

void terminal_draw(struct buf *b)
{
	say((const char *)b->data, b->len);
	buf_clear(b);
}
