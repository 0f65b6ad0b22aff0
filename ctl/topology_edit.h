/* The list of cloud nodes in a topology's text: one item more, or one less, and every other byte as it was, comments too. Pure.
 *
 * Both ways of writing a list are understood (`- {...}` or `- name: ...` below each other, `[{...}, {...}]`). What comes out is read
 * again and compared: a text that is written in another way than expected is refused, never changed wrongly. */
#ifndef WEIR_CTL_TOPOLOGY_EDIT_H
#define WEIR_CTL_TOPOLOGY_EDIT_H

#include <stddef.h>

#include "common/buf.h"

struct topology_edit_node {
	const char *name, *listen, *http;
	const char *data; /* NULL: as the last node's folder, by its own name */
};

/* Appends the new text. 0; or WEIR_EINVAL with why appended to *error (a sentence, or lines as of topology_parse()). */
int topology_edit_add(const char *text, size_t len, const struct topology_edit_node *node, struct buf *out,
    struct buf *error);
/* Also WEIR_ENOTFOUND: no such node. The last one is not removed. */
int topology_edit_remove(const char *text, size_t len, const char *name, struct buf *out, struct buf *error);
/* Appends the lines that differ: "- old", "+ new", as they stand between the first and the last such line. */
void topology_edit_difference(const char *before, size_t before_len, const char *after, size_t after_len, struct buf *out);

#endif
