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
#define ROTATION_DONE_MAX 8
#define ROTATION_DONE_BYTES 32

/* What is remembered of a file that was read up to `position`, to know it again. */
struct rotation_id {
	uint64_t inode;
	uint64_t position;
	uint8_t head[ROTATION_CHECK_BYTES]; /* its first bytes */
	uint8_t tail[ROTATION_CHECK_BYTES]; /* the bytes just before position */
	size_t head_len, tail_len;
};

/* The files read to their end last: whatever they are called by now, none is read again. */
struct rotation_done {
	struct {
		uint64_t inode;
		uint8_t head[ROTATION_DONE_BYTES];
		size_t head_len; /* at least 1 */
	} files[ROTATION_DONE_MAX]; /* oldest first */
	size_t count;
};
/* id has been read to its end. An empty file is not worth remembering. */
void rotation_done_add(struct rotation_done *d, const struct rotation_id *id);

/* Opens a plain file: a descriptor, or -1 with errno (EINVAL: not a plain file). */
int rotation_open(const char *folder, const char *name, struct stat *ret_stat);
/* Whether the bytes of an open file are those of id, and reach up to its position. */
bool rotation_same_content(int fd, const struct rotation_id *id);
/* The file of id under another name than `name`: by its inode, else by its content (a copy made before the file was
 * truncated). A descriptor, or -1: not there. */
int rotation_find(const char *folder, const char *name, const struct rotation_id *id, struct stat *ret_stat);
/* The file that was begun after `ours` had been moved away: the next younger sibling that is no older than ours and not in
 * done, else NAME itself. A descriptor, or -1: NAME does not exist (yet). */
int rotation_next(const char *folder, const char *name, const struct stat *ours, const struct rotation_done *done,
    struct stat *ret_stat, unsigned *ret_passed);

#endif
