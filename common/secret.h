/* Files that only their owner may read: keys, tokens. Blocking; any thread. */
#ifndef WEIR_COMMON_SECRET_H
#define WEIR_COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define SECRET_BYTES_MAX (64 * 1024)

/* Appends the whole file to *out (free it with secret_free). WEIR_ENOTFOUND; WEIR_EINVAL (no plain file, of another user
 * than ours or root, or readable by group or others - files below $CREDENTIALS_DIRECTORY, which systemd guards in its own
 * way, excepted); WEIR_ETOOBIG (over SECRET_BYTES_MAX); WEIR_EIO. *ret_why: a text for people, which says what to do; the
 * caller's to free. */
int secret_read(const char *path, struct buf *out, char **ret_why);
/* The same for an operator's tool: to root it does not matter whose the file is, as those of a daemon belong to the daemon's user. */
int secret_read_as_tool(const char *path, struct buf *out, char **ret_why);
/* Puts a file of mode 0600 in place of what was at path, whole or not at all, also through a crash; root gives
 * it to the owner of what was there, else of the folder. fresh: only where there is
 * none yet (else WEIR_EEXIST). WEIR_EIO. *ret_why as above. */
int secret_write(const char *path, const void *bytes, size_t len, bool fresh, char **ret_why);
/* The same for what all may read: mode 0644, and always in place of what was there. */
int secret_publish(const char *path, const void *bytes, size_t len, char **ret_why);
/* Overwrites, then frees. */
void secret_free(struct buf *b);

#endif
