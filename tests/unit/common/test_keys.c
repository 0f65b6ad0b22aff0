/* Key files: what is taken, what is refused, and what changes while a process runs. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "common/err.h"
#include "common/keys.h"

static char folder[64];
static struct keys *k;
static char *why;
static unsigned reports;
static char last_report[1024];
static struct key_text pub[4], sec[4];

static void on_report(void *arg, const char *text)
{
	(void)arg;
	reports++;
	snprintf(last_report, sizeof(last_report), "%s", text);
}

static void put(const char *file, const char *text, mode_t mode)
{
	char path[160], temp[160];
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	snprintf(temp, sizeof(temp), "%s/%s.new", folder, file);
	FILE *f = fopen(temp, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(temp, mode), 0);
	ck_assert_int_eq(rename(temp, path), 0);
}

static void put_pub(const char *name, const char *a, const char *b)
{
	char file[80], text[256];
	snprintf(file, sizeof(file), "%s.pub", name);
	snprintf(text, sizeof(text), "# %s\n\n  %s\r\n%s\n", name, a, b);
	put(file, text, 0644);
}

static int open_as(const char *name)
{
	struct keys_options o = {.dir = folder, .name = name, .report = on_report};
	free(why);
	why = NULL;
	return keys_open(&o, &k, &why);
}

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/weir-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	unsetenv("CREDENTIALS_DIRECTORY");
	reports = 0;
	for (int i = 0; i < 4; i++)
		key_make(&pub[i], &sec[i]);
	put("c.key", sec[0].text, 0600);
	put_pub("c", pub[0].text, "");
	put_pub("e-1", pub[1].text, "");
}

static void teardown(void)
{
	char command[128];
	keys_free(k);
	k = NULL;
	free(why);
	why = NULL;
	static const char *const names[] = {"c.key", "c.pub", "e-1.pub", "e-2.pub", "weir.key", "more.pub"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(command, sizeof(command), "%s/%s", folder, names[i]);
		unlink(command);
	}
	ck_assert_int_eq(rmdir(folder), 0);
}

static struct keys_change poll_once(void)
{
	struct keys_change c;
	keys_poll(k, &c);
	return c;
}

START_TEST(texts_are_those_of_libzmq)
{
	uint8_t bytes[KEY_BYTES], theirs[KEY_BYTES];
	char text[KEY_TEXT + 1], public[KEY_TEXT + 1];
	struct key_text t;
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(zmq_curve_keypair(public, text), 0);
		ck_assert_int_eq(key_decode(text, bytes), 0);
		ck_assert_ptr_nonnull(zmq_z85_decode(theirs, text));
		ck_assert_mem_eq(bytes, theirs, KEY_BYTES);
		key_encode(bytes, &t);
		ck_assert_str_eq(t.text, text);
		struct key_text mine;
		ck_assert_int_eq(key_public(&t, &mine), 0);
		ck_assert_str_eq(mine.text, public);
	}
	ck_assert_int_eq(key_decode("0123456789012345678901234567890123456 89", bytes), WEIR_EINVAL);
	ck_assert_int_eq(key_decode("########################################", bytes), WEIR_EINVAL); /* over 32 bits */
}
END_TEST

START_TEST(owners_are_found_by_key)
{
	put_pub("e-2", pub[2].text, pub[3].text);
	ck_assert_msg(!open_as("c"), "%s", why);
	ck_assert_str_eq(keys_name(k), "c");
	ck_assert_str_eq(keys_secret(k)->text, sec[0].text);
	ck_assert_str_eq(keys_public(k)->text, pub[0].text);
	ck_assert_str_eq(keys_owner(k, pub[1].text), "e-1");
	ck_assert_str_eq(keys_owner(k, pub[3].text), "e-2");
	ck_assert(keys_owns(k, "e-2", pub[2].text));
	ck_assert(!keys_owns(k, "e-1", pub[2].text));
	ck_assert_ptr_null(keys_owner(k, sec[0].text));
	ck_assert_ptr_null(keys_owner(k, ""));
	const struct key_text *keys;
	ck_assert_uint_eq(keys_of(k, "e-2", &keys), 2);
	ck_assert_str_eq(keys[0].text, pub[2].text); /* the newest first */
	ck_assert_uint_eq(keys_of(k, "nobody", &keys), 0);
	ck_assert_uint_eq(reports, 0);
}
END_TEST

START_TEST(secrets_that_others_may_read_are_refused)
{
	static const mode_t wide[] = {0640, 0604, 0644, 0620, 0660, 0777};
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
		put("c.key", sec[0].text, wide[i]);
		ck_assert_int_eq(open_as("c"), WEIR_EINVAL);
		ck_assert_ptr_nonnull(strstr(why, "chmod 600"));
	}
	put("c.key", sec[0].text, 0400);
	ck_assert_int_eq(open_as("c"), 0);
}
END_TEST

START_TEST(wrong_files_are_told)
{
	ck_assert_int_eq(open_as("d"), WEIR_ENOTFOUND);
	ck_assert_ptr_nonnull(strstr(why, "d.key"));
	put("c.key", "no key\n", 0600);
	ck_assert_int_eq(open_as("c"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "weirctl keygen"));
	put("c.key", "", 0600);
	ck_assert_int_eq(open_as("c"), WEIR_EINVAL);
	put("c.key", sec[2].text, 0600); /* not that of c.pub */
	ck_assert_int_eq(open_as("c"), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "c.pub"));
	put("c.key", sec[0].text, 0600);
	ck_assert_int_eq(chmod(folder, 0777), 0);
	ck_assert_int_eq(open_as("c"), WEIR_EINVAL);
	ck_assert_int_eq(chmod(folder, 0700), 0);
	struct keys_options o = {.dir = "/nowhere/at/all", .name = "c"};
	free(why);
	why = NULL;
	ck_assert_int_eq(keys_open(&o, &k, &why), WEIR_ENOTFOUND);
	free(why);
	why = NULL;
	ck_assert_int_eq(keys_check(folder, "c", &why), 0);
	ck_assert_int_eq(keys_check(NULL, "c", &why), 0);
	ck_assert_int_ne(keys_check(folder, "x", &why), 0);
}
END_TEST

START_TEST(a_broken_pub_is_told_once_and_what_it_held_stands)
{
	ck_assert_int_eq(open_as("c"), 0);
	put("e-1.pub", "garbage\n", 0644);
	poll_once();
	poll_once();
	ck_assert_uint_eq(reports, 1);
	ck_assert_ptr_nonnull(strstr(last_report, "e-1.pub: line 1"));
	ck_assert_str_eq(keys_owner(k, pub[1].text), "e-1");
	put("e-2.pub", pub[2].text, 0646); /* anybody could become e-2 */
	poll_once();
	ck_assert_uint_eq(reports, 2);
	ck_assert_ptr_null(keys_owner(k, pub[2].text));
	struct keys_counters c;
	keys_counters(k, &c);
	ck_assert_uint_eq(c.broken, 2);
	put("more.pub", "a line\nof text\n", 0644);
	put_pub("e-1", pub[3].text, "");
	ck_assert(poll_once().others);
	ck_assert_str_eq(keys_owner(k, pub[3].text), "e-1");
	ck_assert_ptr_null(keys_owner(k, pub[1].text));
}
END_TEST

START_TEST(a_key_of_two_names_is_nobodys)
{
	put_pub("e-2", pub[1].text, pub[2].text);
	ck_assert_int_eq(open_as("c"), 0);
	ck_assert_uint_eq(reports, 1);
	ck_assert_ptr_null(keys_owner(k, pub[1].text));
	ck_assert_str_eq(keys_owner(k, pub[2].text), "e-2");
}
END_TEST

START_TEST(changes_are_taken_in)
{
	char path[160];
	ck_assert_int_eq(open_as("c"), 0);
	struct keys_change c = poll_once();
	ck_assert(!c.own && !c.others);
	put_pub("e-2", pub[2].text, "");
	c = poll_once();
	ck_assert(!c.own && c.others);
	ck_assert_str_eq(keys_owner(k, pub[2].text), "e-2");
	/* in place */
	snprintf(path, sizeof(path), "%s/e-2.pub", folder);
	FILE *f = fopen(path, "a");
	fprintf(f, "%s\n", pub[3].text);
	fclose(f);
	ck_assert(poll_once().others);
	ck_assert_str_eq(keys_owner(k, pub[3].text), "e-2");
	unlink(path);
	ck_assert(poll_once().others);
	ck_assert_ptr_null(keys_owner(k, pub[2].text));
	ck_assert_str_eq(keys_owner(k, pub[1].text), "e-1");
	/* emptied: nobody is e-1 any more */
	put("e-1.pub", "# none\n", 0644);
	ck_assert(poll_once().others);
	ck_assert_ptr_null(keys_owner(k, pub[1].text));
	/* the own one */
	put("c.key", sec[3].text, 0600);
	c = poll_once();
	ck_assert(c.own && !c.others);
	ck_assert_str_eq(keys_public(k)->text, pub[3].text);
	put("c.key", sec[2].text, 0644);
	c = poll_once();
	ck_assert(!c.own);
	ck_assert_uint_eq(reports, 1);
	ck_assert_str_eq(keys_public(k)->text, pub[3].text);
}
END_TEST

/* Two polls with so many descriptors. */
static void poll_short_of_files(unsigned left)
{
	struct rlimit before, few;
	int next = open("/dev/null", O_RDONLY);
	close(next);
	ck_assert(!getrlimit(RLIMIT_NOFILE, &before));
	few = before;
	few.rlim_cur = (rlim_t)next + left;
	ck_assert(!setrlimit(RLIMIT_NOFILE, &few));
	poll_once();
	unsigned told = reports;
	poll_once();
	if (left < 2)
		ck_assert_uint_eq(reports, told); /* once */
	ck_assert(!setrlimit(RLIMIT_NOFILE, &before));
}

/* Left: for nothing, the folder, its list. A key that was taken back then is refused as soon as it can be read. */
START_TEST(what_could_not_be_read_is_read_later)
{
	char path[160];
	put_pub("e-2", pub[2].text, "");
	ck_assert_int_eq(open_as("c"), 0);
	snprintf(path, sizeof(path), "%s/e-2.pub", folder);
	unlink(path);
	put_pub("e-1", pub[3].text, "");
	put("c.key", sec[3].text, 0600);
	poll_short_of_files((unsigned)_i);
	ck_assert_uint_ge(reports, _i < 2);
	struct keys_change c = poll_once();
	ck_assert(c.others || _i == 2);
	ck_assert_ptr_null(keys_owner(k, pub[2].text));
	ck_assert_ptr_null(keys_owner(k, pub[1].text));
	ck_assert_str_eq(keys_owner(k, pub[3].text), "e-1");
	ck_assert_str_eq(keys_public(k)->text, pub[3].text);
}
END_TEST

START_TEST(the_services_credentials_come_first)
{
	put("weir.key", sec[2].text, 0440); /* guarded by systemd */
	put_pub("c", pub[2].text, "");
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	ck_assert_int_eq(open_as("c"), WEIR_EINVAL); /* c.key is there too, and is another one */
	put("c.key", sec[2].text, 0600);
	ck_assert_int_eq(open_as("c"), 0);
	keys_free(k);
	unlink("c.key");
	char path[160];
	snprintf(path, sizeof(path), "%s/c.key", folder);
	unlink(path);
	ck_assert_msg(!open_as("c"), "%s", why);
	ck_assert_str_eq(keys_public(k)->text, pub[2].text);
	unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

START_TEST(too_many_lines_are_told)
{
	struct key_text keys[2];
	size_t n;
	unsigned line;
	char text[256];
	snprintf(text, sizeof(text), "%s\n#\n%s\n%s", pub[0].text, pub[1].text, pub[2].text);
	ck_assert_int_eq(keys_parse(bytes_of(text, strlen(text)), keys, 2, &n, &line), WEIR_EINVAL);
	ck_assert_uint_eq(line, 4);
	ck_assert_int_eq(keys_parse(bytes_of(text, 2 * KEY_TEXT + 3), keys, 2, &n, &line), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(keys_parse(bytes_of("", 0), keys, 2, &n, &line), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/keys");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, texts_are_those_of_libzmq);
	tcase_add_test(tc, owners_are_found_by_key);
	tcase_add_test(tc, secrets_that_others_may_read_are_refused);
	tcase_add_test(tc, wrong_files_are_told);
	tcase_add_test(tc, a_broken_pub_is_told_once_and_what_it_held_stands);
	tcase_add_test(tc, a_key_of_two_names_is_nobodys);
	tcase_add_test(tc, changes_are_taken_in);
	tcase_add_loop_test(tc, what_could_not_be_read_is_read_later, 0, 3);
	tcase_add_test(tc, the_services_credentials_come_first);
	tcase_add_test(tc, too_many_lines_are_told);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
