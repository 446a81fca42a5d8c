#include "client/cli/render.h"
#include "client/cli/tar.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json_write.h"

#include <string.h>

#define PATH_BYTES 4096
#define LIST_BYTES ((size_t)64 << 10)

/* One `result` on its way to disk, with the list of what was written. */
struct result {
    struct gdfo_cli *cli;
    const char *id, *checkpoint;
    char folder[PATH_BYTES / 2];
    struct gdfo_buf list; /* JSON array members */
    struct gdfo_json_writer w;
    char skipped[GDFO_ERROR_TEXT_MAX]; /* why there is no PEFT folder */
};

static void note_file(struct result *r, const char *name, const void *bytes, size_t n)
{
    struct gdfo_sha256 hash;
    unsigned char digest[GDFO_SHA256_BYTES];
    char hex[GDFO_SHA256_HEX];
    gdfo_sha256_init(&hash);
    gdfo_sha256_add(&hash, bytes, n);
    gdfo_sha256_end(&hash, digest);
    gdfo_hex(digest, sizeof digest, hex);
    gdfo_json_open(&r->w, NULL, '{');
    gdfo_json_put_str(&r->w, "name", name);
    gdfo_json_put_int(&r->w, "bytes", (int64_t)n);
    gdfo_json_put_str(&r->w, "sha256", hex);
    gdfo_json_close(&r->w, '}');
    if (!r->cli->is_json) {
        (void)fprintf(r->cli->out, "%s/%s\n", r->folder, name);
    }
}

static int write_file(struct result *r, const char *name, const void *bytes, size_t n)
{
    char path[PATH_BYTES];
    struct gdfo_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", r->folder, name);
    if (gdfo_file_write(path, bytes, n, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(r->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    note_file(r, name, bytes, n);
    return 0;
}

/* The bytes that came are the bytes the daemon stored, or nothing is written. */
static int verify(struct result *r, const char *format)
{
    const struct gdfo_reply *reply = &r->cli->reply;
    if (reply->etag[0] && strcmp(reply->etag, reply->sha256) != 0) {
        return gdfo_cli_fail_as(
            r->cli, GDFO_EXIT_VERIFY,
            "the %s download has SHA-256 %.16s..., the daemon promised %.16s...", format,
            reply->sha256, reply->etag);
    }
    return 0;
}

static int fetch(struct result *r, const char *format)
{
    struct gdfo_error err = {0};
    struct gdfo_cli *cli = r->cli;
    enum gdfo_status status =
        gdfo_client_job_content(cli->client, r->id, r->checkpoint, format, &cli->reply, &err);
    int code;
    if (status == GDFO_STATUS_OK && cli->reply.http == 422 && strcmp(format, "json") != 0) {
        GDFO_IGNORE(gdfo_reply_error(&cli->reply, &err));
        (void)snprintf(r->skipped, sizeof r->skipped, "%s", err.text);
        return 0;
    }
    code = gdfo_cli_check(cli, status, &err);
    return code ? code : verify(r, format);
}

static int fetch_file(struct result *r, const char *format, const char *name)
{
    int code = fetch(r, format);
    if (!code && r->skipped[0]) {
        (void)fprintf(r->cli->err, "no %s: %s\n", name, r->skipped);
        r->skipped[0] = '\0';
        return 0;
    }
    return code ? code : write_file(r, name, r->cli->reply.body.data, r->cli->reply.body.len);
}

static int unpack(struct result *r)
{
    const struct gdfo_buf *archive = &r->cli->reply.body;
    size_t offset = 0, n = 0;
    int is_end = 0, code = 0;
    while (!code) {
        struct gdfo_tar_entry entry;
        struct gdfo_error err = {0};
        char name[GDFO_TAR_NAME_BYTES + 8];
        if (gdfo_tar_next(archive->data, archive->len, &offset, &entry, &is_end, &err) !=
            GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(r->cli, GDFO_EXIT_VERIFY, "the PEFT download: %s", err.text);
        }
        if (is_end) {
            break;
        }
        (void)snprintf(name, sizeof name, "peft/%s", entry.name);
        code = write_file(r, name, entry.bytes, entry.n);
        n++;
    }
    return code || n ? code
                     : gdfo_cli_fail_as(r->cli, GDFO_EXIT_VERIFY, "the PEFT download is empty");
}

static int fetch_peft(struct result *r)
{
    char path[PATH_BYTES];
    struct gdfo_error err = {0};
    int code = fetch(r, "peft");
    if (code) {
        return code;
    }
    if (r->skipped[0]) {
        (void)fprintf(r->cli->err, "no PEFT folder: %s\n", r->skipped);
        return 0;
    }
    (void)snprintf(path, sizeof path, "%s/peft", r->folder);
    if (gdfo_file_mkdirs(path, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(r->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    return unpack(r);
}

static void print_document(struct result *r)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    gdfo_json_close(&r->w, ']');
    gdfo_buf_init(&b, LIST_BYTES * 2);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "job", r->id);
    gdfo_json_put_str(&w, "checkpoint", r->checkpoint);
    gdfo_json_put_str(&w, "folder", r->folder);
    gdfo_json_put_raw(&w, "files", gdfo_buf_ok(&r->list) ? r->list.data : "[]");
    gdfo_json_put_str(&w, "no_peft_because", r->skipped[0] ? r->skipped : NULL);
    gdfo_json_close(&w, '}');
    (void)fprintf(r->cli->out, "%s\n", gdfo_buf_ok(&b) ? b.data : "{}");
    gdfo_buf_deinit(&b);
}

static int is_checkpoint(const char *s)
{
    return strcmp(s, "best") == 0 || strcmp(s, "last") == 0 || gdfo_client_is_id(s);
}

static int run(struct gdfo_cli *cli)
{
    struct result r = {.cli = cli, .id = cli->args.words[0], .checkpoint = "best"};
    const char *folder = gdfo_cli_args_get(&cli->args, "output");
    struct gdfo_error err = {0};
    int code;
    if (gdfo_cli_args_get(&cli->args, "checkpoint")) {
        r.checkpoint = gdfo_cli_args_get(&cli->args, "checkpoint");
    }
    if (!gdfo_client_is_id(r.id) || !is_checkpoint(r.checkpoint)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                "%.60s, %.60s: want a job's id and best, last or a checkpoint's id",
                                r.id, r.checkpoint);
    }
    if (snprintf(r.folder, sizeof r.folder, "%s", folder ? folder : r.id) >= (int)sizeof r.folder) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "the folder's name is too long");
    }
    gdfo_buf_init(&r.list, LIST_BYTES);
    r.w = gdfo_json_writer(&r.list);
    gdfo_json_open(&r.w, NULL, '[');
    code = fetch(&r, "json"); /* before the folder is made: there may be no result yet */
    if (!code && gdfo_file_mkdirs(r.folder, &err) != GDFO_STATUS_OK) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    code = code ? code : write_file(&r, "result.json", cli->reply.body.data, cli->reply.body.len);
    code = code ? code : fetch_file(&r, "safetensors", "prompt.safetensors");
    code = code ? code : fetch_peft(&r);
    if (!code && cli->is_json) {
        print_document(&r);
    }
    gdfo_buf_deinit(&r.list);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"output", 'o', GDFO_CLI_VALUE, "DIR", "the folder to write (else one named like the job)"},
    {"checkpoint", 0, GDFO_CLI_VALUE, "ID", "best (the default), last, or a checkpoint's id"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_job_result = {
    .words = "job result",
    .short_form = "result",
    .usage = "ID -o DIR",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "write the tuned prompt: prompt.safetensors, result.json, peft/",
    .about =
        "Every download is checked against its SHA-256. A prompt that stands behind the text has\n"
        "no PEFT form: then peft/ is left out, and stderr says so. A head alone (method head) is\n"
        "result.json and nothing else.",
    .run = run,
};
