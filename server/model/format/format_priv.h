#ifndef GDFO_SERVER_MODEL_FORMAT_FORMAT_PRIV_H
#define GDFO_SERVER_MODEL_FORMAT_FORMAT_PRIV_H

#include "server/model/format/block.h"
#include "server/model/format/format.h"
#include "server/model/format/tokenizer_files.h"

/* Ceilings of teachers.md 6.4; those marked ours are not in it and keep products small. */
#define GDFO_FORMAT_FILE_MAX     ((uint64_t)8 << 30)
#define GDFO_FORMAT_TENSORS_MAX  16384u
#define GDFO_FORMAT_NAME_MAX     64u
#define GDFO_FORMAT_ELEMENTS_MAX ((uint64_t)1 << 40)
#define GDFO_FORMAT_LAYERS_MAX   512u
#define GDFO_FORMAT_CONTEXT_MAX  1048576u
#define GDFO_FORMAT_VOCAB_MAX    4194304u /* as the longest array */
#define GDFO_FORMAT_WIDTH_MAX    65536u   /* ours: d_model, heads */
#define GDFO_FORMAT_FF_MAX       1048576u /* ours */

struct gdfo_gguf; /* the metadata of a GGUF file, gguf_priv.h */

struct gdfo_model_tensor {
    char name[GDFO_FORMAT_NAME_MAX + 1]; /* as in GGUF */
    const struct gdfo_block_type *type;
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] is the row length; those past n_dims are 1 */
    uint64_t n_elements, n_bytes;
    uint64_t offset;       /* from the start of the file */
    uint32_t n_pair_heads; /* rows are re-ordered per head on reading; 0 = as they lie */
    int is_ignored;        /* its place is checked, nothing reads it: n_elements is 0 */
};

struct gdfo_model_file {
    struct gdfo_reader reader;
    struct gdfo_model_config config;
    struct gdfo_model_tensor *tensors; /* sorted by name once open */
    size_t n_tensors, cap_tensors;
    struct gdfo_gguf *gguf; /* NULL for safetensors */
    struct gdfo_tokenizer_files tokenizer_files;
};

/* kind "name" with what is no plain ASCII escaped and long names cut: for messages. */
struct gdfo_format_label {
    char text[160];
};
struct gdfo_format_label gdfo_format_label(const char *kind, const char *name);

/* Each fills config and tensors of a file whose reader is set; what it leaves is freed by destroy.
 */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_open(struct gdfo_model_file *f, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_safetensors_open(struct gdfo_model_file *f,
                                                     const struct gdfo_reader *config,
                                                     struct gdfo_error *err);
void gdfo_gguf_destroy(struct gdfo_gguf *g);
/* Metadata to config, and what 6.4 asks of the tokenizer's keys. */
GDFO_MUST_USE enum gdfo_status gdfo_gguf_config(struct gdfo_model_file *f, struct gdfo_error *err);

/* Appends an empty tensor; NULL when out of memory. Borrowed until the next add. */
struct gdfo_model_tensor *gdfo_model_tensor_add(struct gdfo_model_file *f);
const struct gdfo_model_tensor *gdfo_model_tensor_find(const struct gdfo_model_file *f,
                                                       const char *name);
/* Sets n_elements and n_bytes from dims and type; checks n_dims, every dim, their product and the
 * row length. label: the tensor's, for the message. */
GDFO_MUST_USE enum gdfo_status gdfo_model_tensor_size(struct gdfo_model_tensor *t,
                                                      const char *label, struct gdfo_error *err);

/* Sorts the tensors by name; FORMAT when two share a name or their bytes overlap. */
GDFO_MUST_USE enum gdfo_status gdfo_model_tensors_sort(struct gdfo_model_file *f,
                                                       struct gdfo_error *err);

/* The meaning of the numbers (6.4), then that the tensors are exactly those the config asks for. */
GDFO_MUST_USE enum gdfo_status gdfo_format_check_config(const struct gdfo_model_config *c,
                                                        struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_format_check_tensors(const struct gdfo_model_file *f,
                                                         struct gdfo_error *err);
/* The bounds that every family shares. */
GDFO_MUST_USE enum gdfo_status gdfo_format_check_bounds(const struct gdfo_model_config *c,
                                                        struct gdfo_error *err);

#endif
