#include "client/cli/render.h"

static int run(struct gdfo_cli *cli)
{
    char path[128], question[128];
    struct gdfo_error err = {0};
    const char *id = cli->args.words[0];
    static const struct gdfo_cli_column columns[] = {{"removed", "id", GDFO_CLI_TEXT}, {0}};
    if (!gdfo_client_is_id(id)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "\"%.60s\" is no file id", id);
    }
    (void)snprintf(question, sizeof question, "remove %.70s for good?", id);
    if (!gdfo_cli_args_get(&cli->args, "yes") && !gdfo_cli_confirm(cli, question)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_DECLINED, "nothing was removed");
    }
    (void)snprintf(path, sizeof path, "/v1/files/%.70s", id);
    return gdfo_cli_show(cli,
                         gdfo_client_send(cli->client,
                                          &(struct gdfo_request){.method = "DELETE", .path = path},
                                          &cli->reply, &err),
                         &err, columns);
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION, {"yes", 'y', GDFO_CLI_FLAG, NULL, "do not ask"}, {0}};

const struct gdfo_cli_command gdfo_cmd_file_rm = {
    .words = "file rm",
    .usage = "ID [--yes]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "remove a file",
    .run = run,
};
