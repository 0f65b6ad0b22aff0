/* What collectd's write_http plug-in sends with `Format "JSON"`: an array of value lists, turned into line protocol. A value list
 * becomes one line:
 *
 *   PLUGIN,host=H,plugin_instance=P,type=T,type_instance=I DSNAME=VALUE,... TIME
 *
 * Facts are of collectd's write_http and its documentation of the format. jansson beneath. */
#ifndef WEIR_EDGED_COLLECTD_H
#define WEIR_EDGED_COLLECTD_H

#include <stdint.h>

#include "common/buf.h"
#include "common/kv.h"
#include "edged/influx.h"

#define COLLECTD_BODY_MAX (256 * 1024) /* collectd's own BufferSize is at most that, 4 KiB by default */

struct collectd_counts {
	uint64_t lists;   /* that became lines */
	uint64_t empty;   /* without any number: a rate's first value is null */
};

/* Appends the lines. Value lists that are none are told to refused, their number counted from 1, and left out. WEIR_EINVAL: not an array in
 * JSON, with why in *why. */
int collectd_put_lines(struct bytes body, struct buf *out, struct influx_refusals *refused, struct collectd_counts *ret_counts,
    struct buf *why);

#endif
