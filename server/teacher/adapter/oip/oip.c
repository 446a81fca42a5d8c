/*
 * DESIGN. A teacher behind the Open Inference Protocol (KServe v2), contract gdfo-scorer/1. The
 * probe reads what the server declares: extensions, the width of soft_prompt and whether it takes
 * many prompts at once, and which outputs there are. Numbers go and come as raw tensors where both
 * sides can, else as JSON with digits enough to give every float back.
 */
#include "common/mem.h"
#include "server/teacher/adapter/oip/oip_priv.h"
#include "server/teacher/answer.h"
#include "server/teacher/exchange_write.h"

#include <stdio.h>
#include <string.h>

#define PROMPTS_MAX  64  /* of one call (teachers.md 1.2): ours, and what gdfod takes */
#define EXAMPLES_MAX 256 /* trie nodes counted */
#define IDS_MAX      1024

/* Ready first: what a model says of itself may not be whole before. */
enum step { STEP_SERVER, STEP_READY, STEP_MODEL, STEP_DONE };

static const struct gdfo_opt options[] = {
    {"format", GDFO_OPT_ENUM, offsetof(struct gdfo_oip_options, format), "auto", 0, 0,
     "auto|json|binary", "of tensors; auto = binary where the server declares it"},
    {0}};

static enum gdfo_status probe_encode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     struct gdfo_exchange *out, int *is_done,
                                     struct gdfo_error *err)
{
    static const char *const paths[] = {"/v2", "/v2/models/%s/ready", "/v2/models/%s"};
    *is_done = step >= STEP_DONE;
    if (*is_done) {
        return setup->profile->d_model > 0
                   ? GDFO_STATUS_OK
                   : gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                    "the server's model has no input soft_prompt of a known width");
    }
    return gdfo_exchange_start(out, "GET", paths[step], setup->model, err);
}

/* ---- what the server declares ---------------------------------------------------------------- */

static const struct gdfo_json *find_tensor(const struct gdfo_json *root, const char *side,
                                           const char *name)
{
    const struct gdfo_json *list = gdfo_answer_get(root, side, GDFO_JSON_ARRAY);
    for (const struct gdfo_json *t = list ? gdfo_json_first(list) : NULL; t;
         t = gdfo_json_next(t)) {
        const char *is = gdfo_answer_str(t, "name");
        if (is && strcmp(is, name) == 0) {
            return t;
        }
    }
    return NULL;
}

static enum gdfo_status take_server(const struct gdfo_remote_setup *setup,
                                    const struct gdfo_json *root,
                                    struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_oip_options *o = setup->options;
    const char *name = gdfo_answer_str(root, "name");
    const char *version = gdfo_answer_str(root, "version");
    const struct gdfo_json *list = gdfo_answer_get(root, "extensions", GDFO_JSON_ARRAY);
    char both[160];
    (void)snprintf(both, sizeof both, "%.79s %.79s", name ? name : "?", version ? version : "?");
    gdfo_answer_copy(profile->server, sizeof profile->server, both);
    for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
         v = gdfo_json_next(v)) {
        const char *word = gdfo_json_string(v);
        profile->takes_binary |= word && strcmp(word, "binary_tensor_data") == 0;
    }
    if (o->format == GDFO_OIP_FORMAT_BINARY && !profile->takes_binary) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "options.format is binary; the server does not declare the extension "
                              "binary_tensor_data");
    }
    profile->takes_binary = profile->takes_binary && o->format != GDFO_OIP_FORMAT_JSON;
    return GDFO_STATUS_OK;
}

/* [-1, H] or [-1, -1, H]. */
static enum gdfo_status take_width(const struct gdfo_json *root,
                                   struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_json *tensor = find_tensor(root, "inputs", "soft_prompt");
    const struct gdfo_json *shape = gdfo_answer_get(tensor, "shape", GDFO_JSON_ARRAY);
    const size_t rank = shape ? gdfo_json_size(shape) : 0;
    int64_t width = 0;
    if (rank < 2 || rank > 3 || !gdfo_json_int(gdfo_answer_at(shape, rank - 1), &width) ||
        width < 1 || width > 65536) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "the model's metadata declare no input soft_prompt of shape [-1, H] "
                              "or [-1, -1, H]: it does not speak gdfo-scorer/1");
    }
    profile->d_model = (uint32_t)width;
    profile->takes_many = rank == 3;
    return GDFO_STATUS_OK;
}

static uint32_t limit_of(const struct gdfo_json *parameters, const char *key, uint32_t most)
{
    int64_t n = 0;
    return gdfo_answer_count(parameters, key, &n) && n > 0 && n < (int64_t)most ? (uint32_t)n
                                                                                : most;
}

static enum gdfo_status take_model(const struct gdfo_json *root,
                                   struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    const struct gdfo_json *parameters = gdfo_answer_get(root, "parameters", GDFO_JSON_OBJECT);
    const char *sha256 = gdfo_answer_str(parameters, "sha256");
    const char *precision = gdfo_answer_str(parameters, "precision");
    const char *kept = gdfo_answer_str(parameters, "kv_reuse");
    const size_t n_server = strlen(profile->server);
    int64_t positions = 0;
    enum gdfo_status status = take_width(root, profile, err);
    if (status == GDFO_STATUS_OK && (!find_tensor(root, "inputs", "label_ids") ||
                                     !find_tensor(root, "outputs", "label_logprobs"))) {
        status = gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                                "the model's metadata declare no input label_ids or no output "
                                "label_logprobs: it does not say what a label costs");
    }
    gdfo_answer_copy(profile->model, sizeof profile->model, gdfo_answer_str(root, "name"));
    if (sha256 || precision) { /* of the weights, where it says: other weights, other teacher */
        (void)snprintf(profile->server + n_server, sizeof profile->server - n_server, " %.20s %.8s",
                       sha256 ? sha256 : "", precision ? precision : "");
        gdfo_answer_copy(profile->server, sizeof profile->server, profile->server);
    }
    if (gdfo_answer_count(parameters, "max_positions", &positions) && positions <= 1 << 24) {
        profile->max_positions = (uint32_t)positions;
    }
    profile->reuses_text =
        kept && (strcmp(kept, "both") == 0 || strcmp(kept, "text") == 0); /* where it says */
    profile->soft = GDFO_SOFT_SPLICED;
    profile->score = GDFO_SCORE_LABELS;
    profile->grid = GDFO_GRID_F32;
    profile->has_hidden = find_tensor(root, "outputs", "hidden") != NULL;
    profile->max_prompts =
        profile->takes_many ? limit_of(parameters, "max_prompts", PROMPTS_MAX) : 1;
    profile->max_examples = limit_of(parameters, "max_examples", EXAMPLES_MAX);
    profile->max_cells = profile->max_prompts * profile->max_examples;
    profile->max_ids = limit_of(parameters, "max_labels", IDS_MAX);
    return status;
}

static enum gdfo_status probe_decode(const struct gdfo_remote_setup *setup, uint32_t step,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_profile *profile, struct gdfo_error *err)
{
    static const char *const whats[] = {"the server's description", "the model's readiness",
                                        "the model's description"};
    struct gdfo_json *root = NULL;
    enum gdfo_status status = GDFO_STATUS_OK;
    if (a->status != 200) {
        return gdfo_answer_refuse(err, a, "%s was refused", whats[step]);
    }
    if (step == STEP_READY) { /* by its status alone: bodies differ between servers */
        return GDFO_STATUS_OK;
    }
    if (gdfo_answer_json(&root, a, 0, err) != GDFO_VERDICT_OK) {
        return gdfo_error_prefix(err, "%s", whats[step]);
    }
    status = step == STEP_SERVER ? take_server(setup, root, profile, err)
                                 : take_model(root, profile, err);
    gdfo_json_destroy(root);
    return status;
}

const struct gdfo_remote_ops gdfo_remote_oip_ops = {
    .name = "oip",
    .help =
        "Open Inference Protocol (KServe v2), contract gdfo-scorer/1: another gdfod, or a server "
        "of your own",
    .options = options,
    .options_bytes = sizeof(struct gdfo_oip_options),
    .probe_encode = probe_encode,
    .probe_decode = probe_decode,
    .encode = gdfo_oip_encode,
    .decode = gdfo_oip_decode,
};
