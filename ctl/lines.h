/* Line protocol cut into lines, bytes unchanged, without judging them: a newline within a quoted field is data. Pure. */
#ifndef WEIR_CTL_LINES_H
#define WEIR_CTL_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct lines {
	/* One line with its newline (but for a last one that has none). series_hash: XXH3-64 of the raw bytes up to the
	 * first space that is not escaped; 0 where reading is false: a comment or a blank line. Returns false to stop. */
	bool (*line)(void *arg, const void *bytes, size_t len, bool reading, uint64_t series_hash);
	void *arg;
	struct buf rest; /* lines.c's: the start of a line */
};

void lines_free(struct lines *l);
/* Any bytes, split anywhere. A quote that is open after LINE_BYTES_MAX is taken for a mistake, and its line ends at its
 * first newline. false: stopped. */
bool lines_feed(struct lines *l, const void *bytes, size_t len);
/* The input has ended. */
bool lines_finish(struct lines *l);

#endif
