#include "client/cli/follow.h"
#include "client/cli/input.h"
#include "client/cli/render.h"
#include "client/cli/spec.h"
#include "client/cli/upload.h"
#include "common/clk.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/mem.h"
#include "common/ulid.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define SETS_MAX   (GDFO_CLI_SETS_MAX + 3) /* --name, and the ids of two uploads */

/* A job on its way to the daemon. */
struct order {
    struct gdfo_cli *cli;
    const char *spec_path;
    struct gdfo_buf text, body;
    struct gdfo_json *spec;
    struct gdfo_spec_set sets[SETS_MAX];
    char *copies[GDFO_CLI_SETS_MAX]; /* the --set words, split */
    size_t n_sets, n_copies;
    char file_ids[2][GDFO_UPLOAD_ID_BYTES];
    char key[GDFO_ULID_BYTES];
    char key_path[PATH_BYTES]; /* "" when there is nowhere to keep it */
};

static void order_deinit(struct order *o)
{
    for (size_t i = 0; i < o->n_copies; i++) {
        gdfo_mem_free(o->copies[i]);
    }
    gdfo_json_destroy(o->spec);
    gdfo_buf_deinit(&o->text);
    gdfo_buf_deinit(&o->body);
}

/* ---- SPEC ---- */

static int read_spec(struct order *o)
{
    struct gdfo_error err = {0};
    const char *name = strcmp(o->spec_path, "-") == 0 ? "stdin" : o->spec_path;
    if (gdfo_input_read(o->spec_path, &o->text, &err) != GDFO_STATUS_OK ||
        gdfo_spec_parse(&o->spec, o->text.data ? o->text.data : o->key, o->text.len, name, &err) !=
            GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(o->cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    return 0;
}

static int take_sets(struct order *o)
{
    struct gdfo_error err = {0};
    const struct gdfo_cli_args *args = &o->cli->args;
    const char *name = gdfo_cli_args_get(args, "name");
    for (size_t i = 0; i < args->n_repeated; i++) {
        char *copy = gdfo_mem_dup_str(args->repeated[i]);
        if (!copy) {
            return gdfo_cli_fail_as(o->cli, GDFO_EXIT_FAILED, "out of memory");
        }
        o->copies[o->n_copies++] = copy;
        if (gdfo_spec_set_parse(&o->sets[o->n_sets++], copy, &err) != GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(o->cli, GDFO_EXIT_USAGE, "%s", err.text);
        }
    }
    if (name) {
        o->sets[o->n_sets++] = (struct gdfo_spec_set){"name", name, 1};
    }
    return 0;
}

/* ---- files ---- */

/* Names inside a SPEC are meant beside it; names on the command line, where one stands. */
static int beside_spec(const struct order *o, const char *name, char *out)
{
    const char *slash = strrchr(o->spec_path, '/');
    int n;
    if (name[0] == '/' || !slash) {
        n = snprintf(out, PATH_BYTES, "%s", name);
    } else {
        n = snprintf(out, PATH_BYTES, "%.*s/%s", (int)(slash - o->spec_path), o->spec_path, name);
    }
    return n > 0 && n < PATH_BYTES;
}

static int is_set(const struct order *o, const char *key)
{
    for (size_t i = 0; i < o->n_sets; i++) {
        if (strcmp(o->sets[i].path, key) == 0) {
            return 1;
        }
    }
    return 0;
}

/* "@train.jsonl" becomes the id of an uploaded file. */
static int upload(struct order *o, const char *key, char *id)
{
    char path[PATH_BYTES];
    const char *text = gdfo_spec_member(o->spec, o->sets, o->n_sets, key);
    int code;
    if (!text || text[0] != '@') {
        return 0;
    }
    if (is_set(o, key)) {
        if (snprintf(path, sizeof path, "%s", text + 1) >= (int)sizeof path) {
            return gdfo_cli_fail_as(o->cli, GDFO_EXIT_USAGE, "%s: the path is too long", key);
        }
    } else if (!beside_spec(o, text + 1, path)) {
        return gdfo_cli_fail_as(o->cli, GDFO_EXIT_USAGE, "%s: the path is too long", key);
    }
    code = gdfo_upload_once(o->cli, path, id);
    if (!code) {
        o->sets[o->n_sets++] = (struct gdfo_spec_set){key, id, 1};
    }
    return code;
}

/* ---- the key ---- */

/*
 * The Idempotency-Key is kept on disk, under the hash of daemon and body, until there is an answer:
 * the same command run again after a lost answer then carries the same key.
 */
static void take_key(struct order *o)
{
    struct gdfo_sha256 hash;
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[GDFO_SHA256_HEX], folder[PATH_BYTES];
    const char *url = o->cli->url;
    struct gdfo_buf kept;
    gdfo_ulid(o->key, gdfo_clk_wall_ms(gdfo_clk_system()));
    if (!o->cli->state_dir) {
        return;
    }
    gdfo_sha256_init(&hash);
    gdfo_sha256_add(&hash, url, strlen(url) + 1);
    gdfo_sha256_add(&hash, o->body.data, o->body.len);
    gdfo_sha256_end(&hash, digest);
    gdfo_hex(digest, sizeof digest, hex);
    if (snprintf(folder, sizeof folder, "%s/keys", o->cli->state_dir) >= (int)sizeof folder ||
        snprintf(o->key_path, sizeof o->key_path, "%.3900s/%s", folder, hex) >=
            (int)sizeof o->key_path) {
        o->key_path[0] = '\0';
        return;
    }
    gdfo_buf_init(&kept, 256);
    if (gdfo_file_read(o->key_path, &kept, NULL) == GDFO_STATUS_OK &&
        kept.len == GDFO_ULID_BYTES - 1) {
        memcpy(o->key, kept.data, kept.len);
    } else if (gdfo_file_mkdirs(folder, NULL) != GDFO_STATUS_OK ||
               gdfo_file_write(o->key_path, o->key, GDFO_ULID_BYTES - 1, NULL) != GDFO_STATUS_OK) {
        o->key_path[0] = '\0'; /* a home that cannot be written is no reason not to run */
    }
    gdfo_buf_deinit(&kept);
}

static void drop_key(const struct order *o)
{
    if (o->key_path[0]) {
        (void)unlink(o->key_path);
    }
}

/* ---- create and watch ---- */

static int create(struct order *o, struct gdfo_json **job)
{
    struct gdfo_cli *cli = o->cli;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    take_key(o);
    status = gdfo_client_job_create(cli->client, o->body.data, o->key, &cli->reply, &err);
    if (status == GDFO_STATUS_OK && cli->reply.http < 500) {
        drop_key(o);
    }
    return gdfo_cli_check_json(cli, status, job, &err);
}

static int begin(struct order *o, char id[GDFO_UPLOAD_ID_BYTES])
{
    struct gdfo_cli *cli = o->cli;
    struct gdfo_json *job = NULL;
    const char *text;
    int is_detached = gdfo_cli_args_get(&cli->args, "detach") != NULL;
    int code = create(o, &job);
    if (code) {
        return code;
    }
    text = gdfo_cli_text_at(job, "id");
    if (!text || !gdfo_client_is_id(text)) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "the job that was made has no id");
    } else {
        (void)snprintf(id, GDFO_UPLOAD_ID_BYTES, "%s", text);
        if (cli->is_json) {
            code = gdfo_cli_print_json(cli, job);
        } else if (is_detached) {
            (void)fprintf(cli->out, "%s\n", id);
        } else {
            (void)fprintf(cli->err, "created %s\n", id);
        }
    }
    gdfo_json_destroy(job);
    return code;
}

static int prepare(struct order *o)
{
    struct gdfo_error err = {0};
    int code = read_spec(o);
    code = code ? code : take_sets(o);
    code = code ? code : upload(o, "training_file", o->file_ids[0]);
    code = code ? code : upload(o, "validation_file", o->file_ids[1]);
    if (!code && gdfo_spec_write(&o->body, o->spec, o->sets, o->n_sets, &err) != GDFO_STATUS_OK) {
        code = gdfo_cli_fail_as(o->cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    return code;
}

static int run(struct gdfo_cli *cli)
{
    struct order *o = gdfo_mem_array(1, sizeof *o);
    char id[GDFO_UPLOAD_ID_BYTES] = "";
    int code;
    if (!o) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "out of memory");
    }
    o->cli = cli;
    o->spec_path = cli->args.words[0];
    gdfo_buf_init(&o->text, GDFO_SPEC_MAX_BYTES);
    gdfo_buf_init(&o->body, GDFO_SPEC_MAX_BYTES);
    code = prepare(o);
    code = code ? code : begin(o, id);
    if (!code && !gdfo_cli_args_get(&cli->args, "detach")) {
        code = gdfo_watch(cli, id, 0);
    }
    order_deinit(o);
    gdfo_mem_free(o);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"detach", 'd', GDFO_CLI_FLAG, NULL, "print the id and leave; do not watch"},
    {"set", 's', GDFO_CLI_REPEATED, "K=V", "set a member: --set method.gdfo.budget.evals=60"},
    {"name", 0, GDFO_CLI_VALUE, "N", "the job's name"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_job_run = {
    .words = "job run",
    .usage = "SPEC [--detach] [--set K=V]... [--name N]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "submit a job and watch it; SPEC is the create body, - is stdin",
    .about =
        "SPEC is JSON; // and /* */ comments are allowed. \"training_file\": \"@train.jsonl\"\n"
        "(and validation_file) uploads the file beside the SPEC first, unless the daemon has\n"
        "the same content. The exit code is the job's: 0, 9 failed, 10 cancelled.",
    .run = run,
};
