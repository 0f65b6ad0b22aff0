/* Tokens, their file, and the private files beneath. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/secret.h"
#include "common/tokens.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char folder[64];
static char path[128];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weir-tokens-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/tokens", folder);
}

static void teardown(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0); /* nothing is left behind, temporary files neither */
}

static struct tokens *parse(const char *text)
{
	struct tokens *t;
	char *why = NULL;
	int rc = tokens_parse(text, strlen(text), &t, &why);
	ck_assert_msg(!rc, "%s", why);
	return t;
}

static void refuse(const char *text, size_t len, const char *within)
{
	struct tokens *t = NULL;
	char *why = NULL;
	ck_assert_int_eq(tokens_parse(text, len, &t, &why), WEIR_EINVAL);
	ck_assert_ptr_null(t);
	ck_assert_msg(strstr(why, within) != NULL, "%s: %s", text, why);
	free(why);
}

START_TEST(made_tokens_are_found_by_their_text_only)
{
	struct token a = {.name = "a", .role = TOKEN_READ}, b = {.name = "b", .role = TOKEN_ADMIN};
	char text_a[TOKEN_TEXT_BYTES], text_b[TOKEN_TEXT_BYTES];
	uint8_t hash[TOKEN_HASH_BYTES];
	struct buf file = {0};
	token_make(text_a, a.hash);
	token_make(text_b, b.hash);
	ck_assert_str_ne(text_a, text_b);
	ck_assert_uint_eq(strlen(text_a), TOKEN_TEXT_BYTES - 1);
	ck_assert(!strncmp(text_a, TOKEN_PREFIX, strlen(TOKEN_PREFIX)));
	token_put(&a, &file);
	token_put(&b, &file);
	ck_assert_ptr_null(strstr(buf_cstr(&file), text_a + 5));
	struct tokens *t = parse(buf_cstr(&file));
	token_hash(text_b, strlen(text_b), hash);
	ck_assert_str_eq(tokens_find(t, hash)->name, "b");
	ck_assert_int_eq(tokens_find(t, hash)->role, TOKEN_ADMIN);
	token_hash(text_a, strlen(text_a), hash);
	ck_assert_str_eq(tokens_find(t, hash)->name, "a");
	token_hash(text_a, strlen(text_a) - 1, hash);
	ck_assert_ptr_null(tokens_find(t, hash));
	hash[0] ^= 1;
	ck_assert_ptr_null(tokens_find(t, hash));
	tokens_free(t);
	buf_free(&file);
}
END_TEST

START_TEST(the_hash_is_blake2b)
{
	static const uint8_t abc[] = {0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72, 0x31, 0x71, 0xef, 0x3f, 0xee, 0x98, 0x57, 0x9b,
	    0x94, 0x96, 0x4e, 0x3b, 0xb1, 0xcb, 0x3e, 0x42, 0x72, 0x62, 0xc8, 0xc0, 0x68, 0xd5, 0x23, 0x19};
	uint8_t hash[TOKEN_HASH_BYTES];
	token_hash("abc", 3, hash);
	ck_assert_mem_eq(hash, abc, sizeof(abc));
}
END_TEST

START_TEST(files_are_read_to_the_letter)
{
	struct tokens *t = parse("# who\n\n  a\tread " HASH_A "\r\nb admin " HASH_B);
	ck_assert_uint_eq(tokens_count(t), 2);
	ck_assert_str_eq(tokens_at(t, 1)->name, "b");
	ck_assert_ptr_null(tokens_at(t, 2));
	tokens_free(t);
	t = parse("");
	ck_assert_uint_eq(tokens_count(t), 0);
	tokens_free(t);
#define REFUSE(text, within) refuse(text, strlen(text), within)
	REFUSE("a read " HASH_A "\na admin " HASH_B "\n", "line 2: the name is there");
	REFUSE("a read " HASH_A "\nb admin " HASH_A "\n", "line 2: the hash is there");
	REFUSE("a root " HASH_A, "line 1: the role");
	REFUSE("a! read " HASH_A, "line 1: the name");
	REFUSE("a read " HASH_A "aa", "line 1: the hash");
	REFUSE("a read aa", "line 1: the hash");
	REFUSE("a read x" HASH_A, "line 1: the hash");
	REFUSE("a read " HASH_A " more", "line 1: expected");
	REFUSE("a read", "line 1: expected");
	refuse("a\0b", 3, "NUL");
	struct buf many = {0};
	for (int i = 0; i <= TOKENS_MAX; i++)
		buf_printf(&many, "n%d read %064x\n", i, (unsigned)i);
	refuse((const char *)many.data, many.len, "too many");
	buf_free(&many);
}
END_TEST

static void expect_read(int rc, const char *within)
{
	struct buf b = {0};
	char *why = NULL;
	ck_assert_int_eq(secret_read(path, &b, &why), rc);
	ck_assert_msg(!within || strstr(why, within), "%s", why);
	ck_assert_uint_eq(b.len, rc ? 0 : 3);
	free(why);
	secret_free(&b);
}

START_TEST(files_that_others_may_read_are_refused)
{
	char *why = NULL;
	expect_read(WEIR_ENOTFOUND, "No such file");
	ck_assert_int_eq(secret_write(path, "abc", 3, true, &why), 0);
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	expect_read(0, NULL);
	static const mode_t bad[] = {0640, 0604, 0620, 0602, 0610, 0601};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(chmod(path, bad[i]), 0);
		expect_read(WEIR_EINVAL, "chmod 600");
	}
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0); /* systemd guards that one */
	expect_read(0, NULL);
	ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", "/tmp/other", 1), 0);
	expect_read(WEIR_EINVAL, "chmod 600");
	unsetenv("CREDENTIALS_DIRECTORY");
	ck_assert_int_eq(chmod(path, 0400), 0);
	expect_read(0, NULL);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	expect_read(WEIR_EINVAL, "no plain file");
}
END_TEST

/* Of a daemon that runs as another user: root's own daemon would not take it, root's tools do, and leave it that user's. */
START_TEST(roots_tools_read_the_files_of_daemons)
{
	struct buf b = {0};
	struct stat st;
	char *why = NULL;
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(secret_write(path, "abc", 3, true, &why), 0);
	ck_assert_int_eq(chown(path, 12345, 12345), 0);
	ck_assert_int_eq(secret_read(path, &b, &why), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "belongs to another user (uid 12345)"));
	free(why);
	why = NULL;
	ck_assert_int_eq(secret_read_as_tool(path, &b, &why), 0);
	ck_assert_str_eq(buf_cstr(&b), "abc");
	ck_assert_int_eq(secret_write(path, "def", 3, false, &why), 0);
	ck_assert(!stat(path, &st) && st.st_uid == 12345);
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(secret_read_as_tool(path, &b, &why), WEIR_EINVAL);
	free(why);
	why = NULL;
	ck_assert_int_eq(seteuid(12346), 0); /* somebody else's tools do not */
	ck_assert_int_ne(secret_read_as_tool(path, &b, &why), 0);
	free(why);
	ck_assert_int_eq(seteuid(0), 0);
	secret_free(&b);
}
END_TEST

START_TEST(files_are_replaced_whole)
{
	char *why = NULL;
	ck_assert_int_eq(secret_write(path, "long text", 9, true, &why), 0);
	ck_assert_int_eq(secret_write(path, "x", 1, true, &why), WEIR_EEXIST);
	ck_assert_ptr_nonnull(strstr(why, "there already"));
	free(why);
	ck_assert_int_eq(secret_write(path, "abc", 3, false, &why), 0);
	expect_read(0, NULL);
	char *big = xcalloc(1, SECRET_BYTES_MAX + 1);
	ck_assert_int_eq(secret_write(path, big, SECRET_BYTES_MAX + 1, false, &why), 0);
	expect_read(WEIR_ETOOBIG, "larger");
	free(big);
	ck_assert_int_eq(secret_write("/nowhere/x", "abc", 3, false, &why), WEIR_EIO);
	free(why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/tokens");
	TCase *tc = tcase_create("tokens");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, made_tokens_are_found_by_their_text_only);
	tcase_add_test(tc, the_hash_is_blake2b);
	tcase_add_test(tc, files_are_read_to_the_letter);
	tcase_add_test(tc, files_that_others_may_read_are_refused);
	tcase_add_test(tc, roots_tools_read_the_files_of_daemons);
	tcase_add_test(tc, files_are_replaced_whole);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
