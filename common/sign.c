#include "common/sign.h"

#include <sodium.h>

_Static_assert(SIGN_BYTES == crypto_auth_hmacsha256_BYTES, "the whole of it");

void sign_hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, char ret_hex[SIGN_HEX_BYTES])
{
	crypto_auth_hmacsha256_state state;
	uint8_t mac[SIGN_BYTES];
	crypto_auth_hmacsha256_init(&state, key.p, key.n);
	for (size_t i = 0; i < count; i++)
		crypto_auth_hmacsha256_update(&state, parts[i].p, parts[i].n);
	crypto_auth_hmacsha256_final(&state, mac);
	sodium_memzero(&state, sizeof(state));
	sodium_bin2hex(ret_hex, SIGN_HEX_BYTES, mac, sizeof(mac));
}
