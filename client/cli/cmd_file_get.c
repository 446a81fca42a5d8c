#include "client/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

static int fetch(struct gdfo_cli *cli, const char *path, int fd)
{
    struct gdfo_error err = {0};
    int code = gdfo_cli_check(
        cli,
        gdfo_client_send(
            cli->client,
            &(struct gdfo_request){.method = "GET", .path = path, .has_sink = 1, .sink_fd = fd},
            &cli->reply, &err),
        &err);
    if (!code && cli->reply.etag[0] && strcmp(cli->reply.etag, cli->reply.sha256) != 0) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_VERIFY,
                                "the bytes have SHA-256 %.16s..., the daemon promised %.16s...",
                                cli->reply.sha256, cli->reply.etag);
    }
    return code;
}

/* Into FILE.part first, so that a file of that name is always whole. */
static int fetch_to(struct gdfo_cli *cli, const char *path, const char *name)
{
    char part[PATH_BYTES];
    int code, fd;
    int n = snprintf(part, sizeof part, "%s.part", name);
    if (n < 0 || (size_t)n >= sizeof part) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "the file name is too long");
    }
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        struct gdfo_error err = {0};
        (void)gdfo_error_errno(&err, errno, "%s", part);
        return gdfo_cli_fail(cli, &err);
    }
    code = fetch(cli, path, fd);
    if (close(fd) != 0 || (!code && rename(part, name) != 0)) {
        struct gdfo_error err = {0};
        (void)gdfo_error_errno(&err, errno, "%s", name);
        code = code ? code : gdfo_cli_fail(cli, &err);
    }
    if (code) {
        (void)unlink(part);
    }
    return code;
}

static int run(struct gdfo_cli *cli)
{
    char path[128];
    const char *id = cli->args.words[0];
    const char *name = gdfo_cli_args_get(&cli->args, "output");
    int code;
    if (!gdfo_client_is_id(id)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "\"%.60s\" is no file id", id);
    }
    if (cli->is_json && !name) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                "--json describes the download, so -o FILE has to take the bytes");
    }
    (void)snprintf(path, sizeof path, "/v1/files/%s/content", id);
    code = name ? fetch_to(cli, path, name) : fetch(cli, path, fileno(cli->out));
    if (!code && cli->is_json) {
        (void)fprintf(cli->out, "{\"id\":\"%s\",\"sha256\":\"%s\"}\n", id, cli->reply.sha256);
    } else if (!code && name) {
        (void)fprintf(cli->err, "%s: SHA-256 %s\n", name, cli->reply.sha256);
    }
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"output", 'o', GDFO_CLI_VALUE, "FILE", "write here instead of stdout"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_file_get = {
    .words = "file get",
    .usage = "ID [-o FILE]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "the content of a file, checked against its SHA-256",
    .run = run,
};
