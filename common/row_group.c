#include "common/row_group.h"

#include <string.h>

#include "common/err.h"
#include "common/window.h"

/* AND between tags, OR within one. A tag that the stream does not keep is "" everywhere. */
static bool where_holds(const struct rows_spec *s, const struct group_value *values)
{
	for (uint32_t i = 0; i < s->where_count; i++) {
		uint32_t by = s->where[i].by;
		if (by == UINT32_MAX && *s->where[i].value)
			return false;
		bool match = by == UINT32_MAX;
		for (uint32_t j = 0; j < s->where_count && !match; j++) {
			const char *want = s->where[j].value;
			match = s->where[j].by == by && strlen(want) == values[by].text.n &&
			    !memcmp(want, values[by].text.p, values[by].text.n);
		}
		if (!match)
			return false;
	}
	return true;
}

int row_group_of(const struct rows_spec *spec, size_t by_count, struct bytes stored, uint8_t room[GROUP_KEY_MAX],
    struct bytes *ret_group, bool *ret_match)
{
	struct group_value values[BY_MAX];
	if (!group_split(stored, by_count, values))
		return WEIR_ECORRUPT;
	*ret_match = where_holds(spec, values);
	size_t n = 0;
	for (uint32_t i = 0; i < spec->by_count; i++) {
		struct bytes v = values[spec->by[i]].encoded;
		memcpy(room + n, v.p, v.n);
		n += v.n;
	}
	*ret_group = bytes_of(room, n);
	return 0;
}
