#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/notify.h"

#define S NS_PER_SEC

/* The service manager's end. */
static int manager = -1;
static char folder[64], path[96];

static void listen_at(struct sockaddr_un *address, socklen_t len)
{
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(manager, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)address, len), 0);
}

static void setup(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(folder, sizeof(folder), "/tmp/weir-notify-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/notify", folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	listen_at(&address, sizeof(address));
	setenv("NOTIFY_SOCKET", path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void teardown(void)
{
	close(manager);
	unlink(path);
	rmdir(folder);
}

/* What has come; NULL: nothing. */
static const char *heard(void)
{
	static char text[1024];
	ssize_t n = recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n < 0) {
		ck_assert_int_eq(errno, EAGAIN);
		return NULL;
	}
	text[n] = 0;
	return text;
}

static void watch(int64_t ns)
{
	char text[32];
	snprintf(text, sizeof(text), "%lld", (long long)(ns / 1000));
	setenv("WATCHDOG_USEC", text, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("WATCHDOG_PID", text, 1);
}

START_TEST(states_are_told)
{
	struct notify *n = notify_open();
	ck_assert_ptr_nonnull(n);
	ck_assert_int_eq(notify_watchdog_ns(n), 0);
	notify_turn(n, true, S);
	ck_assert_ptr_null(heard()); /* nothing is said unasked */
	notify_extend(n, 3 * S);
	ck_assert_str_eq(heard(), "EXTEND_TIMEOUT_USEC=3000000");
	notify_ready(n);
	ck_assert_str_eq(heard(), "READY=1");
	notify_reloading(n, 5 * S + 7000);
	ck_assert_str_eq(heard(), "RELOADING=1\nMONOTONIC_USEC=5000007");
	notify_ready(n);
	ck_assert_str_eq(heard(), "READY=1");
	notify_turn(n, true, 7 * S);
	ck_assert_ptr_null(heard()); /* once is enough */
	notify_stopping(n);
	ck_assert_str_eq(heard(), "STOPPING=1");
	notify_ready(n); /* of a reload that ends now */
	ck_assert_ptr_null(heard());
	notify_close(n);
}
END_TEST

START_TEST(nobody_listens)
{
	static const char *const bad[] = {"", "x", "/", "@", "relative/notify", "vsock:2:3", NULL};
	char longest[200];
	for (int i = 0; bad[i]; i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		ck_assert_ptr_null(notify_open());
		ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = 0;
	setenv("NOTIFY_SOCKET", longest, 1);
	ck_assert_ptr_null(notify_open());
	ck_assert_ptr_null(notify_open());
	notify_ready(NULL);
	notify_reloading(NULL, 1);
	notify_status(NULL, "x", 1);
	notify_extend(NULL, 1);
	notify_turn(NULL, true, 1);
	notify_stopping(NULL);
	notify_close(NULL);
	ck_assert_int_eq(notify_watchdog_ns(NULL), 0);
}
END_TEST

START_TEST(who_has_gone_does_no_harm)
{
	struct notify *n = notify_open();
	teardown();
	notify_ready(n);
	notify_turn(n, true, S);
	setup(); /* in another folder */
	notify_turn(n, true, 2 * S);
	ck_assert_ptr_null(heard());
	notify_close(n);
}
END_TEST

START_TEST(an_abstract_socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int len = snprintf(name, sizeof(name), "@weir-notify-%d", (int)getpid());
	teardown();
	memcpy(address.sun_path + 1, name + 1, (size_t)len - 1);
	listen_at(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len));
	setenv("NOTIFY_SOCKET", name, 1);
	struct notify *n = notify_open();
	notify_ready(n);
	ck_assert_str_eq(heard(), "READY=1");
	notify_close(n);
}
END_TEST

START_TEST(the_environment_is_left_clean)
{
	watch(4 * S);
	setenv("WEIR_OTHER", "x", 1);
	struct notify *n = notify_open();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_ptr_null(getenv("WATCHDOG_PID"));
	ck_assert_str_eq(getenv("WEIR_OTHER"), "x");
	ck_assert_int_eq(notify_watchdog_ns(n), 4 * S);
	notify_close(n);
}
END_TEST

START_TEST(the_watchdog_is_fed_by_progress)
{
	watch(4 * S);
	struct notify *n = notify_open();
	notify_turn(n, true, 100 * S);
	ck_assert_ptr_null(heard()); /* it would be watched before it is ready */
	notify_ready(n);
	ck_assert_str_eq(heard(), "READY=1");
	notify_turn(n, true, 100 * S);
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	notify_turn(n, true, 101 * S - 1);
	ck_assert_ptr_null(heard());
	notify_turn(n, true, 101 * S);
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	notify_turn(n, false, 200 * S);
	ck_assert_ptr_null(heard());
	notify_turn(n, true, 200 * S);
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	notify_reloading(n, 201 * S);
	ck_assert_ptr_nonnull(heard());
	notify_turn(n, true, 201 * S); /* also meanwhile */
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	notify_close(n);
}
END_TEST

START_TEST(another_process_is_watched)
{
	static const char *const times[] = {"0", "-5", "1x", "", "99999999999999999999", "18446744073709551615", NULL};
	watch(4 * S);
	setenv("WATCHDOG_PID", "1", 1);
	struct notify *n = notify_open();
	ck_assert_int_eq(notify_watchdog_ns(n), 0);
	notify_close(n);
	for (int i = 0; times[i]; i++) {
		setenv("NOTIFY_SOCKET", path, 1);
		setenv("WATCHDOG_USEC", times[i], 1);
		n = notify_open();
		ck_assert_int_eq(notify_watchdog_ns(n), 0);
		notify_close(n);
	}
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "1000000", 1); /* without a pid: whoever reads it */
	n = notify_open();
	ck_assert_int_eq(notify_watchdog_ns(n), S);
	notify_close(n);
}
END_TEST

START_TEST(a_status_is_sent_when_it_changes)
{
	struct notify *n = notify_open();
	notify_status(n, "one", 10 * S);
	ck_assert_str_eq(heard(), "STATUS=one");
	notify_status(n, "one", 20 * S);
	ck_assert_ptr_null(heard());
	notify_status(n, "two\nREADY=1\x7f", 21 * S);
	ck_assert_str_eq(heard(), "STATUS=two READY=1 ");
	notify_status(n, "three", 21 * S + 1);
	notify_status(n, "four", 21 * S + 2);
	ck_assert_ptr_null(heard()); /* too soon */
	notify_turn(n, true, 22 * S - 1);
	ck_assert_ptr_null(heard());
	notify_turn(n, true, 22 * S);
	ck_assert_str_eq(heard(), "STATUS=four");
	notify_close(n);
}
END_TEST

START_TEST(a_long_status_is_cut_at_a_character)
{
	char text[NOTIFY_STATUS_MAX + 10], want[NOTIFY_STATUS_MAX + 8] = "STATUS=";
	memset(text, 'a', sizeof(text));
	memcpy(text + NOTIFY_STATUS_MAX - 3, "\xe2\x82\xac", 3); /* its last byte would not fit */
	text[sizeof(text) - 1] = 0;
	struct notify *n = notify_open();
	notify_status(n, text, S);
	memset(want + 7, 'a', NOTIFY_STATUS_MAX - 3);
	ck_assert_str_eq(heard(), want);
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text + NOTIFY_STATUS_MAX - 4, "\xe2\x82\xac", 3); /* it fits */
	notify_status(n, text, 3 * S);
	memcpy(want + 7 + NOTIFY_STATUS_MAX - 4, "\xe2\x82\xac", 4);
	ck_assert_str_eq(heard(), want);
	notify_close(n);
}
END_TEST

/* A service manager that reads nothing: the socket's queue fills up, and nothing blocks. */
START_TEST(what_is_not_taken_now_goes_later)
{
	watch(4 * S);
	struct notify *n = notify_open();
	for (int i = 0; i < 100000; i++)
		notify_extend(n, S);
	notify_ready(n);
	notify_status(n, "x", S);
	notify_turn(n, true, S);
	while (strcmp(heard(), "EXTEND_TIMEOUT_USEC=1000000") == 0) {
		char next;
		if (recv(manager, &next, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
			break;
	}
	ck_assert_ptr_null(heard());
	notify_turn(n, true, 3 * S);
	ck_assert_str_eq(heard(), "READY=1");
	ck_assert_str_eq(heard(), "STATUS=x");
	ck_assert_str_eq(heard(), "WATCHDOG=1");
	notify_close(n);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notify");
	TCase *t = tcase_create("notify");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, states_are_told);
	tcase_add_test(t, nobody_listens);
	tcase_add_test(t, who_has_gone_does_no_harm);
	tcase_add_test(t, an_abstract_socket);
	tcase_add_test(t, the_environment_is_left_clean);
	tcase_add_test(t, the_watchdog_is_fed_by_progress);
	tcase_add_test(t, another_process_is_watched);
	tcase_add_test(t, a_status_is_sent_when_it_changes);
	tcase_add_test(t, a_long_status_is_cut_at_a_character);
	tcase_add_test(t, what_is_not_taken_now_goes_later);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
