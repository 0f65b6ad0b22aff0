#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/web.h"

static bool holds(const struct web_file *f, const char *text)
{
	return memmem(f->data, f->len, text, strlen(text)) != NULL;
}

START_TEST(files_are_found_by_their_whole_name)
{
	const struct web_file *page = web_find("index.html");
	ck_assert_ptr_nonnull(page);
	ck_assert_str_eq(page->type, "text/html; charset=utf-8");
	ck_assert(holds(page, "<!doctype html>"));
	ck_assert_str_eq(web_find("app.js")->type, "text/javascript; charset=utf-8");
	ck_assert_str_eq(web_find("style.css")->type, "text/css; charset=utf-8");
	ck_assert_str_eq(web_find("icon.svg")->type, "image/svg+xml");
	ck_assert_uint_gt(web_find("dygraph.min.js")->len, 50000);
	ck_assert_ptr_null(web_find(""));
	ck_assert_ptr_null(web_find("index"));
	ck_assert_ptr_null(web_find("index.html/"));
	ck_assert_ptr_null(web_find("../web/index.html"));
}
END_TEST

/* What the page refers to is there, so that no version of it is half a page. */
START_TEST(all_that_the_page_names_is_there)
{
	static const char *const attributes[] = {"src=\"/web/", "href=\"/web/"};
	const struct web_file *page = web_find("index.html");
	char *text = strndup((const char *)page->data, page->len);
	size_t seen = 0;
	for (size_t i = 0; i < 2; i++) {
		for (const char *at = text; (at = strstr(at, attributes[i])); seen++) {
			char name[64] = {0};
			at += strlen(attributes[i]);
			size_t n = strcspn(at, "\"");
			ck_assert_uint_lt(n, sizeof(name));
			memcpy(name, at, n);
			ck_assert_msg(web_find(name) != NULL, "%s is not there", name);
		}
	}
	ck_assert_uint_ge(seen, 5);
	free(text);
}
END_TEST

START_TEST(tags_are_of_the_content)
{
	for (size_t i = 0; i < web_file_count; i++) {
		const char *tag = web_files[i].etag;
		ck_assert_uint_eq(strlen(tag), 34);
		ck_assert(tag[0] == '"' && tag[33] == '"' && strspn(tag + 1, "0123456789abcdef") == 32);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(tag, web_files[k].etag);
	}
}
END_TEST

START_TEST(a_tag_that_the_client_has_matches)
{
	static const char tag[] = "\"0a1b\"";
	ck_assert(web_etag_matches("\"0a1b\"", tag));
	ck_assert(web_etag_matches("W/\"0a1b\"", tag));
	ck_assert(web_etag_matches("*", tag));
	ck_assert(web_etag_matches("\"x\", W/\"y\" ,\"0a1b\",\"z\"", tag));
	ck_assert(web_etag_matches("\t\"x\",*", tag));
	ck_assert(!web_etag_matches(NULL, tag));
	ck_assert(!web_etag_matches("", tag));
	ck_assert(!web_etag_matches(",, ,", tag));
	ck_assert(!web_etag_matches("0a1b", tag));
	ck_assert(!web_etag_matches("\"0a1\"", tag));
	ck_assert(!web_etag_matches("\"0a1bc\"", tag));
	ck_assert(!web_etag_matches("W/", tag));
	ck_assert(!web_etag_matches("W/W/\"0a1b\"", tag));
	ck_assert(!web_etag_matches("**", tag));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("web");
	TCase *tc = tcase_create("web");
	tcase_add_test(tc, files_are_found_by_their_whole_name);
	tcase_add_test(tc, all_that_the_page_names_is_there);
	tcase_add_test(tc, tags_are_of_the_content);
	tcase_add_test(tc, a_tag_that_the_client_has_matches);
	suite_add_tcase(s, tc);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
