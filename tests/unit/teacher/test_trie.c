#include "server/teacher/trie.h"
#include "tests/support/test.h"

#include <string.h>

/* Forms: [5], [5 6], [7 8 9], [7 8 4]. Nodes: root, 5, 7, 7 8. */
static const struct gdfo_label_ids forms[4] = {
    {{5}, 1}, {{5, 6}, 2}, {{7, 8, 9}, 3}, {{7, 8, 4}, 3}};

static void a_node_is_made_for_each_common_beginning(void **state)
{
    struct gdfo_trie t;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_trie_init(&t, forms, 4, &err), &err);
    assert_int_equal(t.n_nodes, 4);
    assert_int_equal(t.nodes[0].n_path, 0);
    assert_int_equal(t.nodes[0].n_asked, 2); /* 5 and 7 */
    assert_int_equal(t.nodes[0].asked[0], 5);
    assert_int_equal(t.nodes[0].asked[1], 7);
    gdfo_trie_deinit(&t);
    assert_int_equal(t.n_nodes, 0);
}

static void a_form_is_the_sum_along_its_path(void **state)
{
    struct gdfo_trie t;
    struct gdfo_error err = {0};
    float lp[GDFO_TRIE_NODES_MAX][4] = {{0}};
    const float *lp_at[GDFO_TRIE_NODES_MAX];
    (void)state;
    gdfo_test_ok(gdfo_trie_init(&t, forms, 4, &err), &err);
    for (uint32_t n = 0; n < t.n_nodes; n++) {
        for (uint32_t i = 0; i < t.nodes[n].n_asked; i++) {
            /* a number that names where it was taken: token, and one tenth a token of the path */
            lp[n][i] = -(float)t.nodes[n].asked[i] - 0.1F * (float)t.nodes[n].n_path;
        }
        lp_at[n] = lp[n];
    }
    gdfo_test_near((double)gdfo_trie_form_lp(&t, &forms[0], lp_at), -5.0, 1e-6);
    gdfo_test_near((double)gdfo_trie_form_lp(&t, &forms[1], lp_at), -5.0 - 6.1, 1e-6);
    gdfo_test_near((double)gdfo_trie_form_lp(&t, &forms[2], lp_at), -7.0 - 8.1 - 9.2, 1e-6);
    gdfo_test_near((double)gdfo_trie_form_lp(&t, &forms[3], lp_at), -7.0 - 8.1 - 4.2, 1e-6);
    gdfo_trie_deinit(&t);
}

static void single_tokens_need_the_root_alone(void **state)
{
    static const struct gdfo_label_ids two[2] = {{{3}, 1}, {{3}, 1}};
    struct gdfo_trie t;
    struct gdfo_error err = {0};
    (void)state;
    gdfo_test_ok(gdfo_trie_init(&t, two, 2, &err), &err);
    assert_int_equal(t.n_nodes, 1);
    assert_int_equal(t.nodes[0].n_asked, 1); /* asked once, used twice */
    gdfo_trie_deinit(&t);
}

static void too_many_branches_are_refused_with_advice(void **state)
{
    struct gdfo_label_ids many[GDFO_TRIE_NODES_MAX + 1];
    struct gdfo_trie t;
    struct gdfo_error err = {0};
    (void)state;
    for (int i = 0; i <= GDFO_TRIE_NODES_MAX; i++) {
        many[i] = (struct gdfo_label_ids){{i, 999}, 2};
    }
    gdfo_test_ok(gdfo_trie_init(&t, many, GDFO_TRIE_NODES_MAX - 1, &err), &err);
    assert_int_equal(t.n_nodes, GDFO_TRIE_NODES_MAX); /* the root and one for each first token */
    gdfo_trie_deinit(&t);
    assert_int_equal(gdfo_trie_init(&t, many, GDFO_TRIE_NODES_MAX, &err), GDFO_STATUS_LIMIT);
    assert_non_null(strstr(err.text, "use words of fewer tokens"));
    gdfo_trie_deinit(&t);
}

static void a_form_without_tokens_is_refused(void **state)
{
    static const struct gdfo_label_ids empty[1] = {{{0}, 0}};
    struct gdfo_trie t;
    struct gdfo_error err = {0};
    (void)state;
    assert_int_equal(gdfo_trie_init(&t, empty, 1, &err), GDFO_STATUS_INVALID);
    assert_string_equal(err.text, "label form 0 has 0 tokens: want 1..8");
    gdfo_trie_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_made_for_each_common_beginning),
        cmocka_unit_test(a_form_is_the_sum_along_its_path),
        cmocka_unit_test(single_tokens_need_the_root_alone),
        cmocka_unit_test(too_many_branches_are_refused_with_advice),
        cmocka_unit_test(a_form_without_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
