/* Which row of an answer a stored group goes into: the filters and the tags of a question. Pure. */
#ifndef WEIR_COMMON_ROW_GROUP_H
#define WEIR_COMMON_ROW_GROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/rows.h"

/* The group that the row will have: the values asked for, in the order asked for, in room. *ret_match: it passes the filters.
 * by_count: tags of the stored group. WEIR_ECORRUPT: it is no group of so many. */
int row_group_of(const struct rows_spec *spec, size_t by_count, struct bytes stored, uint8_t room[GROUP_KEY_MAX],
    struct bytes *ret_group, bool *ret_match);

#endif
