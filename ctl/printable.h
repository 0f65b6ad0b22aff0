/* Texts of others (names, tags, what servers say) as a terminal may have them. Pure, whatever the locale. */
#ifndef WEIR_CTL_PRINTABLE_H
#define WEIR_CTL_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

/* Appends the text: "?" for each control character (C1's, too, which terminals obey as they do an escape), each that turns the
 * direction of what follows, and each byte that is no UTF-8. ascii: for each column of what is not ASCII, too: in another
 * encoding its bytes may be controls. */
void printable_put(struct buf *out, const char *text, size_t len, bool ascii);
/* The same as a text, the caller's to free. */
char *printable(const char *text);
/* The columns that a text of printable_put() takes: 2 of what is wide in East Asia, 0 of what combines. */
size_t printable_width(const char *text);
/* How many bytes of it fit so many columns. */
size_t printable_cut(const char *text, size_t columns);

#endif
