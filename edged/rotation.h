/* Finding files of a log that is rotated: NAME and its older siblings NAME.1, NAME.2 ... or NAME-20240131 ... in one
 * folder. Looks only; opens what it finds for reading. Numbers count upwards into the past, dates into the future.
 * Compressed siblings cannot be read and are passed over (*ret_passed counts them). */
#ifndef WEIR_EDGED_ROTATION_H
#define WEIR_EDGED_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define ROTATION_ENTRIES_MAX 10000 /* of a folder; what is beyond is not seen */
#define ROTATION_CHECK_BYTES 64

/* What is remembered of a file that was read up to `position`, to know it again. */
struct rotation_id {
	uint64_t inode;
	uint64_t position;
	uint8_t head[ROTATION_CHECK_BYTES]; /* its first bytes */
	uint8_t tail[ROTATION_CHECK_BYTES]; /* the bytes just before position */
	size_t head_len, tail_len;
};

/* Opens a plain file: a descriptor, or -1 with errno (EINVAL: not a plain file). */
int rotation_open(const char *folder, const char *name, struct stat *ret_stat);
/* Whether the bytes of an open file are those of id, and reach up to its position. */
bool rotation_same_content(int fd, const struct rotation_id *id);
/* The file of id under another name than `name`: by its inode, else by its content (a copy made before the file was
 * truncated). A descriptor, or -1: not there. */
int rotation_find(const char *folder, const char *name, const struct rotation_id *id, struct stat *ret_stat);
/* The file that was begun after the one with this inode had been moved away: the next younger sibling, else NAME itself.
 * A descriptor, or -1: NAME does not exist (yet). */
int rotation_next(const char *folder, const char *name, uint64_t inode, struct stat *ret_stat, unsigned *ret_passed);

#endif
