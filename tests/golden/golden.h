/* The golden files: what one version of Weir said and stored, kept so that later versions prove that they still read it.
 *
 *     VERSION/topology.yaml      of all that follows
 *     VERSION/frames/NAME.txt    `frame:` and hex, an empty line, then msg_text() of what it says
 *     VERSION/databases/X.txt    log, state, spool: one record a line: database number, key in hex, value in hex or `-`
 *     VERSION/answers.txt        what is read from these databases
 *     released                   versions that are out, each with its checksum: their files never change again
 */
#ifndef WEIR_TESTS_GOLDEN_H
#define WEIR_TESTS_GOLDEN_H

#include <stdbool.h>

#include "common/buf.h"

/* Names in a folder, sorted, without those that begin with a dot; count in *ret_count. free() each and all. */
char **golden_names(const char *folder, size_t *ret_count);
bool golden_load(const char *path, struct buf *ret); /* false: cannot be read */

/* Problems are appended to *wrong, a line each; true: none. */
bool golden_check_frames(const char *version_folder, struct buf *wrong);
/* The same of frames to which a later version has added. */
bool golden_check_later(const char *version_folder, struct buf *wrong);
/* The newest version says what this program says: every message is there, byte for byte. */
bool golden_check_newest(const char *version_folder, struct buf *wrong);
/* Its log has an entry of each kind that this program stores. */
bool golden_check_kinds(const char *version_folder, struct buf *wrong);
bool golden_check_databases(const char *version_folder, struct buf *wrong);
/* Every version that is out is as it was. */
bool golden_check_released(const char *golden_folder, struct buf *wrong);

/* Writes a version's folder anew. */
bool golden_write(const char *version_folder, struct buf *wrong);
/* Of names and contents of all files of a version: 16 hexadecimal digits. */
void golden_sum(const char *version_folder, char ret[17]);

#endif
