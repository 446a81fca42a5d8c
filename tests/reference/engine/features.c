/*
 * features FOLDER < sentences     one line of JSON for each line: {"ids":[...],"mean":[...]}
 *
 * A model folder as Hugging Face has it, read by our engine: token ids with the special ones, and
 * the mean of the last hidden states. check_minilm.py holds them against transformers.
 */
#include "server/model/features.h"

#include "common/mem.h"
#include "server/model/format/tokenizer_files.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/num/gemm.h"

#include <stdio.h>
#include <string.h>

#define LINE_BYTES 65536

struct folder {
    struct gdfo_reader weights, config, tokenizer;
    struct gdfo_model_file *file;
    struct gdfo_model *model;
    struct gdfo_forward *forward;
};

static enum gdfo_status open_one(struct gdfo_reader *r, const char *folder, const char *name,
                                 struct gdfo_error *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return gdfo_reader_open(r, path, err);
}

static enum gdfo_status open_folder(struct folder *f, const char *folder, const char *tokenizer,
                                    struct gdfo_error *err)
{
    const struct gdfo_forward_options options = {.wants_features = 1};
    struct gdfo_tokenizer_files files = {0};
    enum gdfo_status status = open_one(&f->weights, folder, "model.safetensors", err);
    if (status == GDFO_STATUS_OK) {
        status = open_one(&f->config, folder, "config.json", err);
    }
    if (status == GDFO_STATUS_OK) {
        status = open_one(&f->tokenizer, folder, tokenizer, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_model_file_open(&f->file, &f->weights, &f->config, err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (strcmp(tokenizer, "vocab.txt") == 0) {
        files.vocab_txt = &f->tokenizer;
    } else {
        files.tokenizer_json = &f->tokenizer;
    }
    gdfo_model_file_set_tokenizer(f->file, &files);
    status = gdfo_model_open(&f->model, f->file, NULL, err);
    return status == GDFO_STATUS_OK
               ? gdfo_forward_create(&f->forward, f->model, NULL, &options, err)
               : status;
}

static enum gdfo_status read_line(const struct folder *f, const char *line, struct gdfo_ids *ids,
                                  float *mean, struct gdfo_error *err)
{
    const struct gdfo_tokenizer *t = gdfo_model_tokenizer(f->model);
    const size_t n = strcspn(line, "\n");
    struct gdfo_piece piece = {0};
    const struct gdfo_run run = {.pieces = &piece, .n_pieces = 1};
    enum gdfo_status status;
    ids->n = 0;
    status = gdfo_ids_add(ids, gdfo_tokenizer_bos(t), err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_tokenizer_encode(t, line, n, ids, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = gdfo_ids_add(ids, gdfo_tokenizer_end(t), err);
    }
    piece.ids = ids->data;
    piece.n = ids->n;
    return status == GDFO_STATUS_OK ? gdfo_features_mean(f->forward, &run, 1, mean, err) : status;
}

static void print_line(const struct gdfo_ids *ids, const float *mean, size_t d)
{
    (void)printf("{\"ids\":[");
    for (size_t i = 0; i < ids->n; i++) {
        (void)printf("%s%d", i ? "," : "", (int)ids->data[i]);
    }
    (void)printf("],\"mean\":[");
    for (size_t i = 0; i < d; i++) {
        (void)printf("%s%.8g", i ? "," : "", (double)mean[i]);
    }
    (void)printf("]}\n");
}

int main(int argc, char **argv)
{
    static char line[LINE_BYTES];
    static float mean[65536];
    struct folder f = {0};
    struct gdfo_ids ids = {0};
    struct gdfo_error err = {0};
    enum gdfo_status status;
    if (argc != 3) {
        (void)fprintf(stderr, "usage: features FOLDER tokenizer.json|vocab.txt < sentences\n");
        return 2;
    }
    gdfo_gemm_init();
    status = open_folder(&f, argv[1], argv[2], &err);
    while (status == GDFO_STATUS_OK && fgets(line, sizeof line, stdin)) {
        status = read_line(&f, line, &ids, mean, &err);
        if (status == GDFO_STATUS_OK) {
            print_line(&ids, mean, gdfo_model_config(f.model)->d_model);
        }
    }
    if (status != GDFO_STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    gdfo_ids_deinit(&ids);
    gdfo_forward_destroy(f.forward);
    gdfo_model_destroy(f.model);
    gdfo_model_file_destroy(f.file);
    return status == GDFO_STATUS_OK ? 0 : 1;
}
