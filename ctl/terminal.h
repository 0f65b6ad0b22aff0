/* The terminal as a screen that is drawn on, with keys that are read as they are pressed. Put back as it was however the program ends:
 * at its exit, by SIGINT, SIGTERM, SIGHUP (which end it, with 0), and while it is suspended (SIGTSTP). One a process. */
#ifndef WEIR_CTL_TERMINAL_H
#define WEIR_CTL_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

enum terminal_key { KEY_NONE, KEY_UP, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_REDRAW, KEY_END_OF_INPUT };

/* Whether stdin and stdout are a terminal that can be drawn on. */
bool terminal_is_one(void);
/* WEIR_EIO: errno says why. */
int terminal_open(void);
void terminal_close(void); /* also where it is not open */
/* At least 1 each; 24 and 80 where it does not say. */
void terminal_size(size_t *ret_lines, size_t *ret_columns);
/* The next key within so many ms: a character, or 256 + an enum terminal_key (NONE: the time is over; REDRAW: another size, or
 * back from being suspended). */
int terminal_key(int64_t timeout_ms);
/* Draws, in one piece. */
void terminal_draw(struct buf *b);

#endif
