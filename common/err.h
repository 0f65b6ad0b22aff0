/* The one table of error codes.
 *
 * Functions return 0 when fine and a negative code of this table otherwise. Library code never logs: the caller
 * that decides what an error means logs it, once. Where an error needs a place or a reason (a line, a column, a
 * key), the function gives it in an extra out-parameter, as text. */
#ifndef WEIR_COMMON_ERR_H
#define WEIR_COMMON_ERR_H

#include <stddef.h>

enum weir_err {
	WEIR_OK = 0,
	WEIR_ENOMEM = -1,    /* out of memory */
	WEIR_EINVAL = -2,    /* the caller's argument or the input is not valid */
	WEIR_ENOTFOUND = -3, /* no such record, stream, node ... */
	WEIR_ECORRUPT = -4,  /* stored or received bytes fail their check */
	WEIR_ETOOBIG = -5,   /* over a named limit */
	WEIR_EFULL = -6,     /* no room: disk, map or queue */
	WEIR_EIO = -7,       /* the system refused: errno tells */
	WEIR_EBUSY = -8,     /* not now: try again */
	WEIR_ETIMEOUT = -9,  /* no answer in time */
	WEIR_EVERSION = -10, /* a format or protocol version that is not ours */
	WEIR_EEXIST = -11,   /* already there */
	WEIR_EFENCED = -12,  /* another holder of this name, or an old copy of it */
	WEIR_ECLOSED = -13,  /* the peer or the object is closed */
	WEIR_ETRUNCATED = -14, /* input ended in the middle */
	WEIR_ENOTLEADER = -15 /* this replica does not lead its group, or no longer */
};

/* Text of a code, for people; never NULL; static. */
const char *err_text(int code);

/* The text of a code's name as a label value ("corrupt", "too_big"); static. */
const char *err_label(int code);

/* Ends the process with a message when memory is gone: the daemons bound what they hold, so running out of memory
 * is a bug or a machine in ruins, and a restart from the last commit is exact. */
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What the programmer promises; left on in release builds. Never for bytes from wire, disk, user or config. */
#define weir_assert(cond) ((cond) ? (void)0 : weir_assert_failed(#cond, __FILE__, __LINE__, __func__))
_Noreturn void weir_assert_failed(const char *cond, const char *file, int line, const char *func);

#endif
