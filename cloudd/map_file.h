/* The map file: the newest cluster map that a node has seen, kept in its data folder for the next start. Only a memory aid: the
 * meta group has the map; a node without the file, or with an old one, asks the others.
 *
 * [format u8][checksum u64, XXH3-64 of the rest][map_encode's bytes]. Replaced as a whole, durably. */
#ifndef WEIR_CLOUDD_MAP_FILE_H
#define WEIR_CLOUDD_MAP_FILE_H

#include "common/buf.h"
#include "common/kv.h"

#define MAP_FILE_NAME "map"

/* 0; WEIR_ENOTFOUND; WEIR_ECORRUPT: damaged; WEIR_EIO. Appends the map's bytes. */
int map_file_read(const char *folder, struct buf *map);
/* 0 or WEIR_EIO: then what was there before is there still. */
int map_file_write(const char *folder, struct bytes map);

#endif
