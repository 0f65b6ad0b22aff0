/* HMAC-SHA256 by the test vectors of RFC 4231, and addresses of other people's servers. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/sign.h"
#include "common/url.h"

static void check_vector(struct bytes key, struct bytes text, const char *want)
{
	char hex[SIGN_HEX_BYTES];
	sign_hmac_sha256(key, &text, 1, hex);
	ck_assert_str_eq(hex, want);
	const struct bytes parts[] = {bytes_of(text.p, text.n / 3), bytes_of(text.p + text.n / 3, text.n - text.n / 3)};
	sign_hmac_sha256(key, parts, 2, hex);
	ck_assert_str_eq(hex, want);
}

START_TEST(vectors_of_rfc_4231)
{
	uint8_t key[131], text[50];
	memset(key, 0x0b, 20);
	check_vector(bytes_of(key, 20), bytes_of("Hi There", 8), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	check_vector(bytes_of("Jefe", 4), bytes_of("what do ya want for nothing?", 28),
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	memset(text, 0xdd, sizeof(text));
	check_vector(bytes_of(key, 20), bytes_of(text, 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	const char *larger = "Test Using Larger Than Block-Size Key - Hash Key First";
	check_vector(bytes_of(key, 131), bytes_of(larger, strlen(larger)),
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
END_TEST

START_TEST(addresses_that_are_none)
{
	static const char *const bad[] = {"", "example.org", "ftp://x/", "http://", "http:///x", "http://:80/", "http://a b/", "http://u:p@h/",
		"http://h/\n", "https://h/\xc3\xa9", "http://h:0/", "http://h:65536", "http://h:8o/", "http://[::1]:99999?x"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(url_problem(bad[i]) != NULL, "%s", bad[i]);
	char *longest = malloc(URL_MAX_BYTES + 2);
	memset(longest, 'x', URL_MAX_BYTES + 1);
	longest[URL_MAX_BYTES + 1] = 0;
	memcpy(longest, "http://h/", 9);
	ck_assert_ptr_nonnull(url_problem(longest));
	longest[URL_MAX_BYTES] = 0;
	ck_assert_ptr_null(url_problem(longest));
	free(longest);
}
END_TEST

START_TEST(what_stays_private)
{
	static const char *const private[] = {"https://h/x", "https://10.0.0.1", "http://127.0.0.1:80/x", "http://localhost/", "http://127.9.9.9?x",
		"http://[::1]:80/", "http://[::1]/"};
	static const char *const public[] = {"http://h/x", "http://10.0.0.1:80", "http://127.0.0.1.example.org/", "http://[2001:db8::1]/",
		"http://localhost.example.org:65535", "http://h:/x"};
	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++) {
		ck_assert_msg(!url_problem(private[i]), "%s", private[i]);
		ck_assert_msg(url_is_private(private[i]), "%s", private[i]);
	}
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++) {
		ck_assert_msg(!url_problem(public[i]), "%s", public[i]);
		ck_assert_msg(!url_is_private(public[i]), "%s", public[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sign");
	TCase *c = tcase_create("sign");
	tcase_add_test(c, vectors_of_rfc_4231);
	tcase_add_test(c, addresses_that_are_none);
	tcase_add_test(c, what_stays_private);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
