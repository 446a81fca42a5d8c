#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

/*
 * Tokenizers out of Hugging Face's files. Independent sources: the shared RoBERTa vectors with
 * RoBERTa's own files, and tests/reference/engine/masked/cases.json, written by the package
 * tokenizers (make_masked_tokenizers.py says how).
 */
#define FOLDER    "tests/reference/engine/masked/"
#define SEPARATOR "\n__ggml_vocab_test__\n"

static const struct gdfo_json_limits wide = {.depth = 16, .members = 60000, .values = 200000};

struct loaded { /* up to five files in memory, and readers of them */
    struct gdfo_buf text[5];
    struct gdfo_reader reader[5];
    size_t n;
};

static const struct gdfo_reader *hold(struct loaded *l, const char *name)
{
    l->reader[l->n] = gdfo_reader_memory(l->text[l->n].data, l->text[l->n].len, name);
    return &l->reader[l->n++];
}

static const struct gdfo_reader *from_shared(struct loaded *l, const char *path, const char *name)
{
    gdfo_test_shared_read(path, &l->text[l->n]);
    return hold(l, name);
}

static const struct gdfo_reader *from_tree(struct loaded *l, const char *path, const char *name)
{
    struct gdfo_error err = {0};
    gdfo_buf_init(&l->text[l->n], 1u << 24);
    gdfo_test_ok(gdfo_file_read(path, &l->text[l->n], &err), &err);
    return hold(l, name);
}

static const struct gdfo_reader *from_text(struct loaded *l, const char *text, const char *name)
{
    gdfo_buf_init(&l->text[l->n], 1u << 24);
    gdfo_buf_add(&l->text[l->n], text);
    return hold(l, name);
}

static void drop(struct loaded *l)
{
    while (l->n > 0) {
        gdfo_buf_deinit(&l->text[--l->n]);
    }
}

static struct gdfo_tokenizer *read_ok(const struct gdfo_tokenizer_files *files, size_t n_vocab)
{
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_error err = {0};
    gdfo_test_ok(gdfo_tokenizer_files_read(&t, files, n_vocab, &err), &err);
    return t;
}

static void refused(const struct gdfo_tokenizer_files *files, size_t n_vocab,
                    enum gdfo_status status, const char *words)
{
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_error err = {0};
    assert_int_equal(gdfo_tokenizer_files_read(&t, files, n_vocab, &err), status);
    assert_string_equal(err.text, words);
    assert_null(t);
}

static void ids_of(const struct gdfo_tokenizer *t, const char *text, size_t n, struct gdfo_buf *out)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    gdfo_test_ok(gdfo_tokenizer_encode(t, text, n, &ids, &err), &err);
    gdfo_buf_reset(out);
    gdfo_buf_add(out, "");
    for (size_t i = 0; i < ids.n; i++) {
        gdfo_buf_addf(out, " %d", (int)ids.data[i]);
    }
    gdfo_ids_deinit(&ids);
}

/* ---- RoBERTa's own files ----------------------------------------------------------------------
 */

static int setup_roberta(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files files = {
        .vocab_json = from_shared(&l, "tokenizers/roberta/roberta-base-vocab.json", "vocab.json"),
        .merges_txt = from_shared(&l, "tokenizers/roberta/vocab.bpe", "merges.txt")};
    *state = read_ok(&files, 50265);
    drop(&l);
    return 0;
}

static int teardown(void **state)
{
    gdfo_tokenizer_destroy(*state);
    return 0;
}

static void roberta_gives_the_published_ids(void **state)
{
    struct gdfo_buf in, out, got;
    const char *text, *line, *end;
    size_t n = 0;
    gdfo_test_shared_read("vectors/tokenizers/roberta-smollm.derived.inp", &in);
    gdfo_test_shared_read("vectors/tokenizers/ggml-vocab-roberta-bpe.gguf.out", &out);
    gdfo_buf_init(&got, 1u << 20);
    text = in.data;
    line = out.data;
    for (; (end = strstr(text, SEPARATOR)) != NULL; n++) {
        const char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        ids_of(*state, text, (size_t)(end - text), &got);
        if (got.len != (size_t)(line_end - line) || memcmp(got.data, line, got.len) != 0) {
            print_error("string %zu: got%s, want%.*s\n", n, got.data, (int)(line_end - line), line);
            fail();
        }
        text = end + strlen(SEPARATOR);
        line = line_end + 1;
    }
    assert_int_equal(n, 46);
    assert_int_equal(*text, '\0');
    assert_int_equal(*line, '\0');
    gdfo_buf_deinit(&in);
    gdfo_buf_deinit(&out);
    gdfo_buf_deinit(&got);
}

static void roberta_has_its_special_tokens(void **state)
{
    assert_int_equal(gdfo_tokenizer_vocab(*state), 50265);
    assert_int_equal(gdfo_tokenizer_bos(*state), 0);
    assert_int_equal(gdfo_tokenizer_end(*state), 2);
    assert_int_equal(gdfo_tokenizer_eos(*state), 2);
    assert_int_equal(gdfo_tokenizer_mask(*state), 50264);
    assert_true(gdfo_tokenizer_mask_eats_blank(*state));
    for (int32_t id = 0; id < 4; id++) {
        assert_true(gdfo_tokenizer_is_control(*state, id));
    }
    assert_true(gdfo_tokenizer_is_control(*state, 50264));
    assert_true(gdfo_tokenizer_is_control(*state, 50262)); /* no token has this id */
    assert_false(gdfo_tokenizer_is_control(*state, 4));
}

/* Fairseq's files of the same vocabulary: dict.txt gives GPT-2's ids in order of frequency. */
static void roberta_agrees_with_the_original_dictionary(void **state)
{
    struct gdfo_buf dict, encoder;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    const char **texts = gdfo_mem_array(60000, sizeof *texts);
    int32_t id = 4;
    size_t n_checked = 0;
    gdfo_test_shared_read("tokenizers/roberta/dict.txt", &dict);
    gdfo_test_shared_read("tokenizers/roberta/encoder.json", &encoder);
    gdfo_test_ok(gdfo_json_parse(&root, encoder.data, encoder.len, &wide, &err), &err);
    for (const struct gdfo_json *v = gdfo_json_first(root); v; v = gdfo_json_next(v)) {
        int64_t n = 0;
        assert_true(gdfo_json_int(v, &n) && n < 60000);
        texts[n] = gdfo_json_key(v);
    }
    for (const char *line = dict.data; *line != '\0' && id < 50260; id++) {
        struct gdfo_buf want, got;
        size_t gpt2 = 0;
        gdfo_buf_init(&want, 1000);
        gdfo_buf_init(&got, 1000);
        if (line[0] >= '0' && line[0] <= '9') {
            for (; *line >= '0' && *line <= '9'; line++) {
                gpt2 = 10 * gpt2 + (size_t)(*line - '0');
            }
            assert_non_null(texts[gpt2]);
            gdfo_test_ok(gdfo_tokenizer_decode(*state, &id, 1, &got, &err), &err);
            if (strspn(texts[gpt2], "abcdefghijklmnopqrstuvwxyz") == strlen(texts[gpt2])) {
                assert_string_equal(got.data, texts[gpt2]); /* plain letters stand for themselves */
                n_checked++;
            }
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
        gdfo_buf_deinit(&want);
        gdfo_buf_deinit(&got);
    }
    assert_true(n_checked > 5000);
    gdfo_json_destroy(root);
    gdfo_mem_free(texts);
    gdfo_buf_deinit(&dict);
    gdfo_buf_deinit(&encoder);
}

static void text_that_spells_a_special_token_stays_text(void **state)
{
    static const char text[] = "<s> is <mask> </s>";
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    gdfo_test_ok(gdfo_tokenizer_encode(*state, text, strlen(text), &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++) {
        assert_false(gdfo_tokenizer_is_control(*state, ids.data[i]));
    }
    gdfo_ids_deinit(&ids);
}

/* ---- against the package tokenizers -----------------------------------------------------------
 */

static struct gdfo_json *read_cases(void)
{
    struct gdfo_buf text;
    struct gdfo_json *root = NULL;
    struct gdfo_error err = {0};
    gdfo_buf_init(&text, 1u << 20);
    gdfo_test_ok(gdfo_file_read(FOLDER "cases.json", &text, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&root, text.data, text.len, &wide, &err), &err);
    gdfo_buf_deinit(&text);
    return root;
}

static void want_ids(const struct gdfo_json *ids, struct gdfo_buf *out)
{
    gdfo_buf_reset(out);
    gdfo_buf_add(out, "");
    for (const struct gdfo_json *v = gdfo_json_first(ids); v; v = gdfo_json_next(v)) {
        int64_t id = 0;
        assert_true(gdfo_json_int(v, &id));
        gdfo_buf_addf(out, " %d", (int)id);
    }
}

/* All cases of one tokenizer; and its special tokens around one text. */
static void check_cases(const struct gdfo_tokenizer *t, const char *name)
{
    struct gdfo_json *root = read_cases();
    const struct gdfo_json *part = gdfo_json_get(root, name);
    struct gdfo_buf got, want, whole;
    size_t n = 0;
    gdfo_buf_init(&got, 1u << 20);
    gdfo_buf_init(&want, 1u << 20);
    gdfo_buf_init(&whole, 1u << 20);
    for (const struct gdfo_json *c = gdfo_json_first(gdfo_json_get(part, "cases")); c;
         c = gdfo_json_next(c)) {
        const char *text = gdfo_json_string(gdfo_json_get(c, "text"));
        ids_of(t, text, strlen(text), &got);
        want_ids(gdfo_json_get(c, "ids"), &want);
        if (strcmp(got.data, want.data) != 0) {
            print_error("%s \"%s\": got%s, want%s\n", name, text, got.data, want.data);
            fail();
        }
        n++;
    }
    assert_true(n > 50);
    ids_of(t, "It was great .", 14, &got);
    gdfo_buf_addf(&whole, " %d%s %d", (int)gdfo_tokenizer_bos(t), got.data,
                  (int)gdfo_tokenizer_end(t));
    want_ids(gdfo_json_get(part, "whole"), &want);
    assert_string_equal(whole.data, want.data);
    gdfo_buf_deinit(&got);
    gdfo_buf_deinit(&want);
    gdfo_buf_deinit(&whole);
    gdfo_json_destroy(root);
}

static void wordpiece_of_vocab_txt_gives_the_same_ids(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files files = {.vocab_txt =
                                             from_tree(&l, FOLDER "bert/vocab.txt", "vocab.txt")};
    struct gdfo_tokenizer *t = read_ok(&files, 199);
    (void)state;
    drop(&l); /* the tokenizer does not lean on the file */
    check_cases(t, "bert");
    assert_int_equal(gdfo_tokenizer_mask(t), 4);
    assert_false(gdfo_tokenizer_mask_eats_blank(t));
    assert_true(gdfo_tokenizer_is_control(t, 1)); /* [UNK] */
    gdfo_tokenizer_destroy(t);
}

static void wordpiece_of_tokenizer_json_gives_the_same_ids(void **state)
{
    static const char *const names[] = {"bert", "bert-cased"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct loaded l = {.n = 0};
        char path[200];
        struct gdfo_tokenizer_files files = {0};
        struct gdfo_tokenizer *t;
        (void)snprintf(path, sizeof path, FOLDER "%s/tokenizer.json", names[i]);
        files.tokenizer_json = from_tree(&l, path, "tokenizer.json");
        t = read_ok(&files, 400); /* more rows than tokens: the rest are unused */
        drop(&l);
        check_cases(t, names[i]);
        assert_int_equal(gdfo_tokenizer_vocab(t), 400);
        assert_true(gdfo_tokenizer_is_control(t, 399));
        gdfo_tokenizer_destroy(t);
    }
}

static void roberta_of_either_layout_gives_the_same_ids(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files one = {
        .tokenizer_json = from_tree(&l, FOLDER "roberta/tokenizer.json", "tokenizer.json")};
    struct gdfo_tokenizer_files two = {
        .vocab_json = from_tree(&l, FOLDER "roberta/vocab.json", "vocab.json"),
        .merges_txt = from_tree(&l, FOLDER "roberta/merges.txt", "merges.txt")};
    struct gdfo_tokenizer *t = read_ok(&one, 315);
    (void)state;
    check_cases(t, "roberta");
    gdfo_tokenizer_destroy(t);
    t = read_ok(&two, 315);
    check_cases(t, "roberta");
    gdfo_tokenizer_destroy(t);
    one.vocab_json = two.vocab_json; /* tokenizer.json goes first */
    t = read_ok(&one, 315);
    check_cases(t, "roberta");
    gdfo_tokenizer_destroy(t);
    drop(&l);
}

/* ---- WordPiece by hand ------------------------------------------------------------------------
 */

#define SMALL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nA\na\n\xC3\xA9\n##b\n,\ne\n"

static struct gdfo_tokenizer *small(const char *config)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files files = {.vocab_txt = from_text(&l, SMALL, "vocab.txt")};
    struct gdfo_tokenizer *t;
    files.config = config ? from_text(&l, config, "tokenizer_config.json") : NULL;
    t = read_ok(&files, 14);
    drop(&l);
    return t;
}

static void assert_small(const char *config, const char *text, const char *want)
{
    struct gdfo_tokenizer *t = small(config);
    struct gdfo_buf got;
    gdfo_buf_init(&got, 10000);
    ids_of(t, text, strlen(text), &got);
    assert_string_equal(got.data, want);
    gdfo_buf_deinit(&got);
    gdfo_tokenizer_destroy(t);
}

static void the_longest_piece_is_taken_or_the_word_is_unknown(void **state)
{
    (void)state;
    assert_small(NULL, "unaffable", " 5 6 7");
    assert_small(NULL, "unaffably", " 1");          /* its end has no piece: the whole word goes */
    assert_small(NULL, "un,ab un", " 5 12 9 11 5"); /* a sign is a word */
    assert_small(NULL, "q a", " 1 9");
}

static void the_config_says_whether_case_and_accents_count(void **state)
{
    (void)state;
    assert_small(NULL, "A \xC3\xA9", " 9 13");
    assert_small("{}", "A \xC3\xA9", " 9 13");
    assert_small("{\"do_lower_case\":false}", "A \xC3\xA9", " 8 10");
    assert_small("{\"do_lower_case\":true,\"strip_accents\":false}", "A \xC3\x89", " 9 10");
    assert_small("{\"do_lower_case\":false,\"strip_accents\":true}", "A \xC3\xA9", " 8 13");
    assert_small("{\"do_lower_case\":null,\"tokenize_chinese_chars\":false}",
                 "a\xE4\xB8\xAD"
                 "a a",
                 " 1 9");
}

static void wordpiece_decodes_to_words(void **state)
{
    static const int32_t ids[] = {5, 6, 7, 12, 9};
    struct gdfo_tokenizer *t = small(NULL);
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    gdfo_buf_init(&b, 100);
    gdfo_test_ok(gdfo_tokenizer_decode(t, ids, 5, &b, &err), &err);
    assert_string_equal(b.data, "unaffable , a");
    gdfo_buf_deinit(&b);
    gdfo_tokenizer_destroy(t);
}

static void lines_may_end_in_carriage_returns(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files files = {
        .vocab_txt = from_text(&l, "[UNK]\r\n[CLS]\r\n[SEP]\r\nab", "vocab.txt")};
    struct gdfo_tokenizer *t = read_ok(&files, 4);
    struct gdfo_buf got;
    (void)state;
    gdfo_buf_init(&got, 100);
    ids_of(t, "ab", 2, &got);
    assert_string_equal(got.data, " 3");
    assert_int_equal(gdfo_tokenizer_mask(t), -1); /* an encoder without one */
    gdfo_buf_deinit(&got);
    gdfo_tokenizer_destroy(t);
    drop(&l);
}

/* ---- what is refused --------------------------------------------------------------------------
 */

static void missing_files_and_tokens_are_named(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files none = {0};
    struct gdfo_tokenizer_files half = {.vocab_json = from_text(&l, "{}", "vocab.json")};
    struct gdfo_tokenizer_files bert = {.vocab_txt =
                                            from_text(&l, "[CLS]\n[SEP]\na\n", "x/vocab.txt")};
    (void)state;
    refused(&none, 5, GDFO_STATUS_NOT_FOUND,
            "no tokenizer: want tokenizer.json, or vocab.txt, or vocab.json and merges.txt");
    refused(&half, 5, GDFO_STATUS_NOT_FOUND,
            "no tokenizer: want tokenizer.json, or vocab.txt, or vocab.json and merges.txt");
    refused(&bert, 5, GDFO_STATUS_FORMAT, "x/vocab.txt: the vocabulary has no token \"[UNK]\"");
    refused(&bert, 2, GDFO_STATUS_FORMAT,
            "x/vocab.txt: more lines than the 2 tokens of the vocabulary");
    refused(&bert, 0, GDFO_STATUS_INVALID, "a vocabulary of 0, accepted 1..4194304");
    half.merges_txt = from_text(&l, "#version: 0.2\n", "merges.txt");
    refused(&half, 5, GDFO_STATUS_FORMAT, "vocab.json: the vocabulary has no token \"<s>\"");
    drop(&l);
}

static void a_bad_vocab_json_is_named(void **state)
{
    static const struct {
        const char *json, *words;
    } rows[] = {
        {"[]", "vocab.json: the vocabulary is not an object from token to id"},
        {"{\"a\":7}", "vocab.json: token \"a\" has the id 7, accepted 0..4"},
        {"{\"a\":-1}", "vocab.json: token \"a\" has the id -1, accepted 0..4"},
        {"{\"a\":1.5}", "vocab.json: token \"a\" has no integer id"},
        {"{\"a\":1,\"b\":1}", "vocab.json: two tokens have the id 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded l = {.n = 0};
        struct gdfo_tokenizer_files files = {.vocab_json =
                                                 from_text(&l, rows[i].json, "vocab.json"),
                                             .merges_txt = from_text(&l, "", "merges.txt")};
        refused(&files, 5, GDFO_STATUS_FORMAT, rows[i].words);
        drop(&l);
    }
}

#define BERT_HEAD                                                                                  \
    "{\"normalizer\":{\"type\":\"BertNormalizer\"},"                                               \
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
#define BPE_HEAD "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
#define ENDS     "\"post_processor\":{\"type\":\"BertProcessing\"},"
#define VOCAB    "\"vocab\":{\"[CLS]\":0,\"[SEP]\":1,\"[UNK]\":2,\"<s>\":3,\"</s>\":4}"

static void other_pipelines_are_refused_by_name(void **state)
{
    static const struct {
        const char *json;
        enum gdfo_status status;
        const char *words;
    } rows[] = {
        {"{}", GDFO_STATUS_FORMAT, "t.json: \"model\" is missing"},
        {"{\"model\":{\"type\":\"Unigram\"}}", GDFO_STATUS_UNSUPPORTED,
         "t.json: tokenizer model \"Unigram\" is not read, accepted \"WordPiece\" and \"BPE\""},
        {"{\"model\":{\"type\":\"WordPiece\"}}", GDFO_STATUS_UNSUPPORTED,
         "t.json: normalizer \"\" is not read, accepted \"BertNormalizer\""},
        {"{\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":"
         "\"Whitespace\"},\"model\":{\"type\":\"WordPiece\"}}",
         GDFO_STATUS_UNSUPPORTED,
         "t.json: pre_tokenizer \"Whitespace\" is not read, accepted \"BertPreTokenizer\""},
        {"{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":false},\"pre_tokenizer\":{"
         "\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\"}}",
         GDFO_STATUS_UNSUPPORTED, "t.json: \"clean_text\" false is not read, accepted true"},
        {BERT_HEAD "\"model\":{\"type\":\"WordPiece\",\"continuing_subword_prefix\":\"@@\"}}",
         GDFO_STATUS_UNSUPPORTED,
         "t.json: continuing_subword_prefix \"@@\" is not read, accepted \"##\""},
        {BERT_HEAD "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"?\"}}",
         GDFO_STATUS_UNSUPPORTED, "t.json: unk_token \"?\" is not read, accepted \"[UNK]\""},
        {BERT_HEAD "\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":50}}",
         GDFO_STATUS_UNSUPPORTED, "t.json: max_input_chars_per_word is not read, accepted 100"},
        {BERT_HEAD "\"model\":{\"type\":\"WordPiece\"," VOCAB "}}", GDFO_STATUS_UNSUPPORTED,
         "t.json: post_processor \"\" is not read, accepted one special token in front of a text "
         "and one behind it (BertProcessing, RobertaProcessing, TemplateProcessing)"},
        {BERT_HEAD "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":"
                   "{}}]},\"model\":{\"type\":\"WordPiece\"," VOCAB "}}",
         GDFO_STATUS_UNSUPPORTED,
         "t.json: post_processor \"TemplateProcessing\" is not read, accepted one special token in "
         "front of a text and one behind it (BertProcessing, RobertaProcessing, "
         "TemplateProcessing)"},
        {BERT_HEAD ENDS "\"added_tokens\":[{\"id\":1}],\"model\":{" VOCAB "}}", GDFO_STATUS_FORMAT,
         "t.json: an added token without \"content\" or \"id\""},
        {"{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"type\":\"BPE\"}}",
         GDFO_STATUS_UNSUPPORTED,
         "t.json: normalizer \"NFC\" is not read, accepted none in front of byte-level BPE"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\"},\"model\":{\"type\":\"BPE\"}}",
         GDFO_STATUS_UNSUPPORTED,
         "t.json: pre_tokenizer \"Metaspace\" is not read, accepted \"ByteLevel\" with its own "
         "pattern"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{"
         "\"type\":\"BPE\"}}",
         GDFO_STATUS_UNSUPPORTED, "t.json: a tokenizer with \"add_prefix_space\" is not read"},
        {BPE_HEAD "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true}}", GDFO_STATUS_UNSUPPORTED,
         "t.json: a tokenizer with \"byte_fallback\" is not read"},
        {BPE_HEAD "\"model\":{\"type\":\"BPE\"}}", GDFO_STATUS_FORMAT,
         "t.json: \"merges\" is no array"},
        {BPE_HEAD "\"model\":{\"merges\":[[\"a\"]]}}", GDFO_STATUS_FORMAT,
         "t.json: merge 0 is neither a string nor two strings"},
        {BPE_HEAD ENDS "\"model\":{\"merges\":[[\"a\",\"b\"]]," VOCAB "}}", GDFO_STATUS_FORMAT,
         "t.json: merge 0: its left part is no token"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded l = {.n = 0};
        struct gdfo_tokenizer_files files = {.tokenizer_json =
                                                 from_text(&l, rows[i].json, "t.json")};
        refused(&files, 6, rows[i].status, rows[i].words);
        drop(&l);
    }
}

static void a_config_that_is_no_switch_is_refused(void **state)
{
    struct loaded l = {.n = 0};
    struct gdfo_tokenizer_files files = {
        .vocab_txt = from_text(&l, SMALL, "vocab.txt"),
        .config = from_text(&l, "{\"do_lower_case\":1}", "tokenizer_config.json")};
    (void)state;
    refused(&files, 14, GDFO_STATUS_FORMAT,
            "tokenizer_config.json: \"do_lower_case\" is a number, wanted true or false");
    drop(&l);
}

static void no_memory_at_any_moment_is_an_error_and_nothing_leaks(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct loaded l = {.n = 0};
        struct gdfo_tokenizer_files files = {0};
        enum gdfo_status status = GDFO_STATUS_NO_MEMORY;
        long n = 0;
        if (i == 0) {
            files.vocab_txt = from_text(&l, SMALL, "vocab.txt");
            files.config = from_text(&l, "{\"strip_accents\":true}", "c.json");
        } else {
            files.tokenizer_json = from_text(
                &l,
                "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"post_processor\":{\"type\":"
                "\"RobertaProcessing\"},\"model\":{\"merges\":[\"u n\"],\"vocab\":{\"<s>\":0,"
                "\"</s>\":1,\"u\":2,\"n\":3,\"un\":4}}}",
                "t.json");
        }
        for (; status != GDFO_STATUS_OK && n < 1000; n++) {
            struct gdfo_tokenizer *t = NULL;
            struct gdfo_ids ids = {0};
            struct gdfo_error err = {0};
            gdfo_mem_fail_after(n);
            status = gdfo_tokenizer_files_read(&t, &files, 20, &err);
            if (status == GDFO_STATUS_OK) {
                status = gdfo_tokenizer_encode(t, "unun", 4, &ids, &err);
            }
            gdfo_mem_fail_after(-1);
            assert_true(status == GDFO_STATUS_OK || status == GDFO_STATUS_NO_MEMORY);
            gdfo_tokenizer_destroy(t);
            gdfo_ids_deinit(&ids);
        }
        assert_int_equal(status, GDFO_STATUS_OK);
        assert_true(n > 8);
        drop(&l);
    }
}

int main(void)
{
    const struct CMUnitTest roberta[] = {
        cmocka_unit_test(roberta_gives_the_published_ids),
        cmocka_unit_test(roberta_has_its_special_tokens),
        cmocka_unit_test(roberta_agrees_with_the_original_dictionary),
        cmocka_unit_test(text_that_spells_a_special_token_stays_text),
    };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(wordpiece_of_vocab_txt_gives_the_same_ids),
        cmocka_unit_test(wordpiece_of_tokenizer_json_gives_the_same_ids),
        cmocka_unit_test(roberta_of_either_layout_gives_the_same_ids),
        cmocka_unit_test(the_longest_piece_is_taken_or_the_word_is_unknown),
        cmocka_unit_test(the_config_says_whether_case_and_accents_count),
        cmocka_unit_test(wordpiece_decodes_to_words),
        cmocka_unit_test(lines_may_end_in_carriage_returns),
        cmocka_unit_test(missing_files_and_tokens_are_named),
        cmocka_unit_test(a_bad_vocab_json_is_named),
        cmocka_unit_test(other_pipelines_are_refused_by_name),
        cmocka_unit_test(a_config_that_is_no_switch_is_refused),
        cmocka_unit_test(no_memory_at_any_moment_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(roberta, setup_roberta, teardown) +
           cmocka_run_group_tests(others, NULL, NULL);
}
