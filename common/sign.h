/* HMAC-SHA256 (RFC 2104, FIPS 180-4), by libsodium. Pure; any thread. */
#ifndef WEIR_COMMON_SIGN_H
#define WEIR_COMMON_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define SIGN_BYTES 32
#define SIGN_HEX_BYTES (2 * SIGN_BYTES + 1) /* with its NUL */

/* Of the parts, one behind the other, under a key of any length. As lower-case hexadecimal digits. */
void sign_hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, char ret_hex[SIGN_HEX_BYTES]);

#endif
