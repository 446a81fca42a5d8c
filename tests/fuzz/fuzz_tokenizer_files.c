/*
 * The tokenizer files of a Hugging Face folder. The first byte chooses which, the next two are the
 * little-endian length of the first file, the rest is the second (merges, or the config) and then
 * also text to encode: promises: a refusal has words; every id of a text is in the vocabulary, none
 * is a control token but the unknown one.
 */
#include "common/check.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define N_VOCAB 400

static void encode(const struct gdfo_tokenizer *t, const char *text, size_t n)
{
    struct gdfo_error err = {0};
    struct gdfo_ids ids = {0};
    struct gdfo_buf back;
    const enum gdfo_status status = gdfo_tokenizer_encode(t, text, n, &ids, &err);
    gdfo_buf_init(&back, 1u << 20);
    GDFO_CHECK(status == GDFO_STATUS_OK || err.text[0] != '\0');
    for (size_t i = 0; i < ids.n; i++) {
        GDFO_CHECK(ids.data[i] >= 0 && (size_t)ids.data[i] < N_VOCAB);
        GDFO_CHECK(ids.data[i] != gdfo_tokenizer_mask(t));
    }
    GDFO_IGNORE(gdfo_tokenizer_decode(t, ids.data, ids.n, &back, &err));
    gdfo_buf_deinit(&back);
    gdfo_ids_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char sample[] =
        "It wasn't \xC3\x9C\xC3\xB1 \xE4\xB8\xAD\xED\x95\x9C [MASK] <mask>!";
    struct gdfo_error err = {0};
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_tokenizer_files files = {0};
    const size_t n_first = n >= 3 ? (size_t)data[1] | (size_t)data[2] << 8 : 0;
    struct gdfo_reader first, second;
    if (n < 3 || n_first > n - 3) {
        return 0;
    }
    first = gdfo_reader_memory(data + 3, n_first, "first");
    second = gdfo_reader_memory(data + 3 + n_first, n - 3 - n_first, "second");
    switch (data[0] % 3) {
    case 0: files.tokenizer_json = &first; break;
    case 1:
        files.vocab_txt = &first;
        files.config = second.size > 0 ? &second : NULL;
        break;
    default:
        files.vocab_json = &first;
        files.merges_txt = &second;
        break;
    }
    if (gdfo_tokenizer_files_read(&t, &files, N_VOCAB, &err) == GDFO_STATUS_OK) {
        GDFO_CHECK(gdfo_tokenizer_vocab(t) == N_VOCAB);
        encode(t, sample, sizeof sample - 1);
        encode(t, (const char *)data + 3 + n_first, n - 3 - n_first);
    } else {
        GDFO_CHECK(t == NULL && err.text[0] != '\0');
    }
    gdfo_tokenizer_destroy(t);
    return 0;
}
