#define _XOPEN_SOURCE 700 /* realpath */
#include "client/cli/upload.h"

#include "client/cli/render.h"
#include "common/file.h"
#include "common/hash.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES 65536
#define PAGES_MAX   100 /* of 100 files each; past that an upload is cheaper than the search */

enum gdfo_status gdfo_upload_sha256(const char *path, char hex[65], struct gdfo_error *err)
{
    unsigned char piece[PIECE_BYTES], digest[GDFO_SHA256_BYTES];
    struct gdfo_sha256 hash;
    char real[PATH_MAX]; /* the reader refuses symbolic links; a person's own are fine */
    struct gdfo_reader reader;
    enum gdfo_status status = gdfo_reader_open(&reader, realpath(path, real) ? real : path, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    gdfo_sha256_init(&hash);
    for (uint64_t at = 0; at < reader.size && status == GDFO_STATUS_OK;) {
        size_t n = reader.size - at < PIECE_BYTES ? (size_t)(reader.size - at) : PIECE_BYTES;
        status = gdfo_reader_at(&reader, at, piece, n, err);
        if (status == GDFO_STATUS_OK) {
            gdfo_sha256_add(&hash, piece, n);
        }
        at += n;
    }
    gdfo_reader_close(&reader);
    gdfo_sha256_end(&hash, digest);
    gdfo_hex(digest, sizeof digest, hex);
    return status;
}

static int take_id(const struct gdfo_json *file, char id[GDFO_UPLOAD_ID_BYTES])
{
    const char *text = gdfo_cli_text_at(file, "id");
    if (!text || strlen(text) >= GDFO_UPLOAD_ID_BYTES || !gdfo_client_is_id(text)) {
        return 0;
    }
    memcpy(id, text, strlen(text) + 1);
    return 1;
}

/* Looks through one page. found: id is set. last: the id to go on from, "" at the end. */
static int search_page(const struct gdfo_json *list, const char *sha256, char *id, char *last)
{
    const struct gdfo_json *rows = gdfo_cli_at(list, "data");
    const struct gdfo_json *more = gdfo_cli_at(list, "has_more");
    int has_more = 0;
    *last = '\0';
    for (const struct gdfo_json *f = rows ? gdfo_json_first(rows) : NULL; f;
         f = gdfo_json_next(f)) {
        const char *have = gdfo_cli_text_at(f, "sha256");
        const char *status = gdfo_cli_text_at(f, "status");
        if (have && strcmp(have, sha256) == 0 && !(status && strcmp(status, "error") == 0) &&
            take_id(f, id)) {
            return 1;
        }
        (void)take_id(f, last);
    }
    if (!more || !gdfo_json_bool(more, &has_more) || !has_more) {
        *last = '\0';
    }
    return 0;
}

/* *is_found says whether the daemon has this content. */
static int search(struct gdfo_cli *cli, const char *sha256, char *id, int *is_found)
{
    char last[GDFO_UPLOAD_ID_BYTES] = "";
    struct gdfo_error err = {0};
    *is_found = 0;
    for (int page = 0; page < PAGES_MAX && !*is_found && (page == 0 || *last); page++) {
        struct gdfo_json *list = NULL;
        int code = gdfo_cli_check_json(cli,
                                       gdfo_client_get(cli->client, &cli->reply, &err,
                                                       "/v1/files?purpose=fine-tune&limit=100%s%s",
                                                       *last ? "&after=" : "", last),
                                       &list, &err);
        if (code) {
            return code;
        }
        *is_found = search_page(list, sha256, id, last);
        gdfo_json_destroy(list);
    }
    return 0;
}

static int put(struct gdfo_cli *cli, const char *path, char *id)
{
    struct gdfo_error err = {0};
    struct gdfo_json *file = NULL;
    int code = gdfo_cli_check_json(cli, gdfo_client_file_put(cli->client, path, &cli->reply, &err),
                                   &file, &err);
    if (code) {
        return code;
    }
    if (!take_id(file, id)) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "the upload of %s got no file id", path);
    }
    gdfo_json_destroy(file);
    return code;
}

int gdfo_upload_once(struct gdfo_cli *cli, const char *path, char id[GDFO_UPLOAD_ID_BYTES])
{
    struct gdfo_error err = {0};
    char sha256[65];
    int code, is_found;
    if (gdfo_upload_sha256(path, sha256, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "%s: %s", path, err.text);
    }
    code = search(cli, sha256, id, &is_found);
    if (code || is_found) {
        if (is_found) {
            (void)fprintf(cli->err, "%s is there already as %s\n", path, id);
        }
        return code;
    }
    code = put(cli, path, id);
    if (!code) {
        (void)fprintf(cli->err, "%s uploaded as %s\n", path, id);
    }
    return code;
}
