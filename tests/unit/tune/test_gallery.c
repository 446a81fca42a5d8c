#include "common/hash.h"
#include "common/mem.h"
#include "server/tune/gallery.h"
#include "server/tune/head.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#define N       40
#define L       2
#define D_MODEL 3

static uint32_t gold[N];
static struct gdfo_head *head;

static int set_up(void **state)
{
    static float lp[N * L];
    struct gdfo_head_data d = {.lp = lp, .gold = gold, .n = N, .n_labels = L};
    struct gdfo_head_opts o = gdfo_head_opts_default(1);
    struct gdfo_error err = {0};
    (void)state;
    for (size_t i = 0; i < N; i++) {
        gold[i] = (uint32_t)(i % L);
        lp[i * L] = lp[i * L + 1] = -1;
    }
    o.kind = GDFO_HEAD_BIAS;
    return gdfo_head_fit(&head, &d, &o, &err) == GDFO_STATUS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gdfo_head_destroy(head);
    return 0;
}

static void make(struct gdfo_gallery *g)
{
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_gallery_init(g, N, L, D_MODEL, gold, &err), &err);
}

/* A prompt that gives the right class the probability `even` on even pairs of rows, `odd` on odd
 * ones. Its rows say which it is; mark 0 is the plain prompt. */
static void add(struct gdfo_gallery *g, double even, double odd, float mark)
{
    float lp[N * L];
    float rows[2 * D_MODEL];
    struct gdfo_picture p = {.head = head, .lp = lp};
    struct gdfo_error err = {0};
    for (size_t i = 0; i < N; i++) {
        double right = i / 2 % 2 == 0 ? even : odd;
        lp[i * L + gold[i]] = (float)log(right);
        lp[i * L + 1 - gold[i]] = (float)log(1 - right);
    }
    for (size_t i = 0; i < 2 * D_MODEL; i++) {
        rows[i] = mark;
    }
    if (mark > 0) {
        p.n_prompt_tokens = 2;
        p.rows = rows;
    }
    gdfo_test_ok(gdfo_gallery_add(g, &p, &err), &err);
}

/* The first n entries become the artefact's members. */
static void seat(const struct gdfo_gallery *g, size_t n, struct gdfo_artefact *a)
{
    struct gdfo_error err = {0};
    a->d_model = D_MODEL;
    a->position = GDFO_POSITION_SUFFIX;
    gdfo_test_ok(gdfo_artefact_clear_members(a, n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        gdfo_test_ok(gdfo_gallery_seat(g, i, &a->members[i], &err), &err);
    }
}

/* Of 30 prompts the 24 with the lowest loss are kept, the lowest first. */
static void a_full_gallery_parts_with_the_worst(void **state)
{
    struct gdfo_gallery g;
    struct gdfo_artefact *a = gdfo_artefact_create();
    (void)state;
    make(&g);
    for (int i = 0; i < 30; i++) {
        int k = i * 7 % 30; /* in no order */
        add(&g, 0.5 + 0.015 * k, 0.5 + 0.001 * k, (float)(k + 1));
    }
    assert_int_equal(g.n, GDFO_GALLERY_MAX);
    seat(&g, 4, a);
    for (uint32_t m = 0; m < a->n_members; m++) {
        assert_true(a->members[m].rows[0] == (float)(30 - m));
        assert_int_equal(a->members[m].n_prompt_tokens, 2);
        gdfo_test_near(a->members[m].weight, 0.25, 0);
    }
    gdfo_test_near((double)gdfo_gallery_votes(&g, 0)[gold[0]], log(0.5 + 0.015 * 29), 1e-6);
    gdfo_artefact_destroy(a);
    gdfo_gallery_deinit(&g);
}

static void an_answer_that_is_no_number_is_not_hung(void **state)
{
    struct gdfo_gallery g;
    (void)state;
    make(&g);
    add(&g, 0, 0.9, 1); /* log 0 */
    assert_int_equal(g.n, 0);
    gdfo_gallery_deinit(&g);
}

static void the_plain_prompt_may_sit_and_has_no_rows(void **state)
{
    struct gdfo_gallery g;
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct gdfo_artefact *back = NULL;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    (void)state;
    make(&g);
    add(&g, 0.95, 0.4, 0);
    add(&g, 0.35, 0.95, 2);
    seat(&g, 2, a);
    a->members[0].weight = 1.25;
    a->members[1].weight = 0;
    assert_int_equal(a->members[0].n_prompt_tokens, 0);
    assert_true(gdfo_gallery_is_plain(&g, 0) && !gdfo_gallery_is_plain(&g, 1));
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_artefact_save(a, &bytes);
    gdfo_test_ok(gdfo_artefact_load(&back, bytes.data, bytes.len, &err), &err);
    assert_int_equal(back->n_members, 2);
    assert_true(back->members[0].weight == 1.25 && back->members[1].weight == 0);
    assert_true(back->members[1].rows[5] == 2);
    assert_non_null(back->members[0].head);
    gdfo_artefact_destroy(back);
    gdfo_buf_deinit(&bytes);
    gdfo_artefact_destroy(a);
    gdfo_gallery_deinit(&g);
}

static void its_bytes_make_the_same_gallery(void **state)
{
    struct gdfo_gallery g;
    struct gdfo_gallery back;
    struct gdfo_buf bytes;
    struct gdfo_buf again;
    struct gdfo_error err = {0};
    struct gdfo_span in;
    (void)state;
    make(&g);
    make(&back);
    add(&g, 0.95, 0.4, 0);
    add(&g, 0.35, 0.95, 2);
    add(&back, 0.5, 0.6, 9); /* what it held is gone */
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_buf_init(&again, 1 << 20);
    gdfo_gallery_save(&g, &bytes);
    in = gdfo_span_make(bytes.data, bytes.len);
    gdfo_test_ok(gdfo_gallery_load(&back, &in, &err), &err);
    assert_true(gdfo_span_done(&in));
    gdfo_gallery_save(&back, &again);
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.data, bytes.data, bytes.len);
    for (size_t cut = 0; cut + 1 < bytes.len; cut += 41) {
        in = gdfo_span_make(bytes.data, cut);
        assert_int_equal(gdfo_gallery_load(&back, &in, &err), GDFO_STATUS_CORRUPT);
    }
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&again);
    gdfo_gallery_deinit(&g);
    gdfo_gallery_deinit(&back);
}

static void sign(struct gdfo_buf *bytes, char version)
{
    uint32_t sum;
    bytes->data[4] = version;
    sum = gdfo_crc32c(0, bytes->data, bytes->len);
    gdfo_buf_u32(bytes, sum);
}

#define PARTNER_BYTES (65 + 8 + 8 + 8) /* digest, two weights, an empty head */
#define CUE_BYTES     (4 + 8)          /* no cue */
#define LAYER_BYTES   (4 + 4 + 4)      /* no deeper layers; labels and sets of no words */
#define WEIGHT_BYTES  8                /* of one member */

/* A result of before committees ends after its baseline: no count of members, version 1. */
static void a_result_without_members_of_the_older_version_is_read(void **state)
{
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct gdfo_artefact *back = NULL;
    struct gdfo_buf bytes;
    struct gdfo_error err = {0};
    (void)state;
    a->d_model = D_MODEL;
    a->position = GDFO_POSITION_SUFFIX;
    a->evals = 77;
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_artefact_save(a, &bytes);
    bytes.len -= 4 + PARTNER_BYTES + LAYER_BYTES + 4; /* from the count on, and the checksum */
    sign(&bytes, 1);
    gdfo_test_ok(gdfo_artefact_load(&back, bytes.data, bytes.len, &err), &err);
    assert_int_equal(back->evals, 77);
    assert_int_equal(back->n_members, 0);
    gdfo_artefact_destroy(back);
    bytes.len -= 4;
    sign(&bytes, 7);
    assert_int_equal(gdfo_artefact_load(&back, bytes.data, bytes.len, &err), GDFO_STATUS_CORRUPT);
    gdfo_buf_deinit(&bytes);
    gdfo_artefact_destroy(a);
}

/* Version 2: members without a cue between their rows and their head, and no partner behind them.
 */
static void a_result_of_before_partners_is_read(void **state)
{
    struct gdfo_gallery g;
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct gdfo_artefact *back = NULL;
    struct gdfo_buf bytes, older;
    struct gdfo_error err = {0};
    (void)state;
    make(&g);
    add(&g, 0.95, 0.4, 0);
    seat(&g, 1, a);
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_buf_init(&older, 1 << 20);
    gdfo_artefact_save(a, &bytes);
    gdfo_buf_addn(&older, bytes.data,
                  bytes.len - LAYER_BYTES - WEIGHT_BYTES - 4); /* before deep prompts */
    sign(&older, 4);
    gdfo_test_ok(gdfo_artefact_load(&back, older.data, older.len, &err), &err);
    assert_int_equal(back->n_members, 1);
    assert_int_equal(back->n_layer_ids, 0);
    assert_int_equal(back->words.n_sets, 0);
    gdfo_artefact_destroy(back);
    gdfo_buf_reset(&older);
    gdfo_buf_addn(&older, bytes.data,
                  bytes.len - CUE_BYTES - PARTNER_BYTES - LAYER_BYTES - WEIGHT_BYTES - 4);
    sign(&older, 2);
    gdfo_test_ok(gdfo_artefact_load(&back, older.data, older.len, &err), &err);
    assert_int_equal(back->n_members, 1);
    assert_null(back->members[0].cue);
    assert_non_null(back->members[0].head);
    assert_null(back->partner.head);
    gdfo_artefact_destroy(back);
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&older);
    gdfo_artefact_destroy(a);
    gdfo_gallery_deinit(&g);
}

/* A cue of its own goes from the picture through the gallery's bytes to the artefact's. */
static void a_member_keeps_its_cue(void **state)
{
    struct gdfo_gallery g, back;
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct gdfo_artefact *read = NULL;
    struct gdfo_buf bytes;
    struct gdfo_span in;
    struct gdfo_error err = {0};
    float lp[N * L];
    struct gdfo_picture p = {.cue = "In one word: \xFF", .head = head, .lp = lp};
    (void)state;
    make(&g);
    make(&back);
    for (size_t i = 0; i < N * L; i++) {
        lp[i] = logf(0.5F);
    }
    gdfo_test_ok(gdfo_gallery_add(&g, &p, &err), &err);
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_gallery_save(&g, &bytes);
    in = gdfo_span_make(bytes.data, bytes.len);
    gdfo_test_ok(gdfo_gallery_load(&back, &in, &err), &err);
    seat(&back, 1, a);
    gdfo_test_ok(gdfo_head_copy(&a->partner.head, head, &err), &err);
    memcpy(a->partner.sha256, "abc", 4);
    a->partner.weight = 0.25;
    gdfo_buf_reset(&bytes);
    gdfo_artefact_save(a, &bytes);
    gdfo_test_ok(gdfo_artefact_load(&read, bytes.data, bytes.len, &err), &err);
    assert_string_equal(read->members[0].cue, p.cue);
    assert_string_equal(read->partner.sha256, "abc");
    assert_true(read->partner.weight == 0.25 && read->partner.head != NULL);
    gdfo_artefact_destroy(read);
    gdfo_artefact_destroy(a);
    gdfo_buf_deinit(&bytes);
    gdfo_gallery_deinit(&g);
    gdfo_gallery_deinit(&back);
}

/* Version 5 had even members, and a weight of them together in front of the partner's. */
static void a_result_of_before_weights_is_read(void **state)
{
    struct gdfo_gallery g;
    struct gdfo_artefact *a = gdfo_artefact_create();
    struct gdfo_artefact *back = NULL;
    struct gdfo_buf bytes, partner;
    struct gdfo_error err = {0};
    const double together = 0.75;
    (void)state;
    make(&g);
    add(&g, 0.95, 0.4, 0);
    add(&g, 0.35, 0.95, 2);
    seat(&g, 2, a);
    gdfo_test_ok(gdfo_head_copy(&a->partner.head, head, &err), &err);
    a->partner.weight = 0.25;
    gdfo_buf_init(&bytes, 1 << 20);
    gdfo_buf_init(&partner, 1 << 20);
    gdfo_head_save(head, &partner);
    gdfo_artefact_save(a, &bytes);
    bytes.len -= 2 * WEIGHT_BYTES + 4;
    memcpy(bytes.data + bytes.len - LAYER_BYTES - 8 - partner.len - 16, &together, sizeof together);
    sign(&bytes, 5);
    gdfo_test_ok(gdfo_artefact_load(&back, bytes.data, bytes.len, &err), &err);
    assert_true(back->members[0].weight == 0.375 && back->members[1].weight == 0.375);
    assert_true(back->partner.weight == 0.25);
    gdfo_artefact_destroy(back);
    gdfo_artefact_destroy(a);
    gdfo_buf_deinit(&bytes);
    gdfo_buf_deinit(&partner);
    gdfo_gallery_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_gallery_parts_with_the_worst),
        cmocka_unit_test(an_answer_that_is_no_number_is_not_hung),
        cmocka_unit_test(the_plain_prompt_may_sit_and_has_no_rows),
        cmocka_unit_test(its_bytes_make_the_same_gallery),
        cmocka_unit_test(a_result_without_members_of_the_older_version_is_read),
        cmocka_unit_test(a_result_of_before_partners_is_read),
        cmocka_unit_test(a_member_keeps_its_cue),
        cmocka_unit_test(a_result_of_before_weights_is_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
