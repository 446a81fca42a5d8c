/* Any bytes as a GGUF file: opened, and when taken, its tensors and its tokenizer are read. */
#include "common/check.h"
#include "common/mem.h"
#include "server/model/format/format.h"
#include "server/model/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#define READ_MAX 65536u /* floats: larger tensors are left alone */

static void read_norm(const struct gdfo_model_file *f, const char *name, size_t n)
{
    struct gdfo_error err = {0};
    float *w = gdfo_mem_array(n, sizeof *w);
    enum gdfo_status status = w ? gdfo_model_file_read(f, name, w, n, &err) : GDFO_STATUS_NO_MEMORY;
    GDFO_CHECK(status == GDFO_STATUS_OK || err.text[0] != '\0' || !w);
    gdfo_mem_free(w);
}

static void read_tensors(const struct gdfo_model_file *f)
{
    const struct gdfo_model_config *c = gdfo_model_file_config(f);
    GDFO_CHECK(c->n_layers >= 1 && c->n_layers <= 512);
    GDFO_CHECK(c->n_heads * c->d_head == c->d_model && c->n_heads % c->n_kv_heads == 0);
    GDFO_CHECK(c->n_rot % 2 == 0 && c->n_rot <= c->d_head);
    GDFO_CHECK(gdfo_model_file_float_bytes(f) > 0);
    read_norm(f, "output_norm.weight", c->d_model);
    if ((size_t)c->d_model * c->d_model <= READ_MAX) {
        read_norm(f, "blk.0.attn_q.weight", (size_t)c->d_model * c->d_model);
        read_norm(f, "blk.0.attn_k.weight", (size_t)c->d_model * c->n_kv_heads * c->d_head);
    }
    if ((size_t)c->vocab * c->d_model <= READ_MAX) {
        read_norm(f, "token_embd.weight", (size_t)c->vocab * c->d_model);
    }
}

static void read_tokenizer(const struct gdfo_model_file *f)
{
    static const char text[] = " a1 b2 ab'll \xC3\xA9\n";
    struct gdfo_error err = {0};
    struct gdfo_tokenizer *t = NULL;
    struct gdfo_ids ids = {0};
    struct gdfo_buf back;
    if (gdfo_model_file_tokenizer(f, &t, &err) != GDFO_STATUS_OK) {
        GDFO_CHECK(err.text[0] != '\0');
        return;
    }
    gdfo_buf_init(&back, 1u << 20);
    if (gdfo_tokenizer_encode(t, text, strlen(text), &ids, &err) == GDFO_STATUS_OK) {
        GDFO_CHECK(gdfo_tokenizer_decode(t, ids.data, ids.n, &back, &err) == GDFO_STATUS_OK);
    }
    gdfo_buf_deinit(&back);
    gdfo_ids_deinit(&ids);
    gdfo_tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    const struct gdfo_reader r = gdfo_reader_memory(data, n, "fuzz");
    if (gdfo_model_file_open(&f, &r, NULL, &err) == GDFO_STATUS_OK) {
        read_tensors(f);
        read_tokenizer(f);
    } else {
        GDFO_CHECK(f == NULL && strncmp(err.text, "fuzz: ", 6) == 0);
    }
    gdfo_model_file_destroy(f);
    return 0;
}
