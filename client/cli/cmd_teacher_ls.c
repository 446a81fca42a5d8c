#include "client/cli/render.h"

static const struct gdfo_cli_column columns[] = {{"TEACHER", "name", GDFO_CLI_TEXT},
                                                 {"ADAPTER", "adapter", GDFO_CLI_TEXT},
                                                 {"MODEL", "model", GDFO_CLI_TEXT},
                                                 {"ID", "id", GDFO_CLI_TEXT},
                                                 {0}};

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    struct gdfo_json *list = NULL;
    int code = gdfo_cli_check_json(
        cli, gdfo_client_get(cli->client, &cli->reply, &err, "/v1/teachers"), &list, &err);
    if (!code) {
        if (cli->is_json) {
            code = gdfo_cli_print_json(cli, list);
        } else {
            gdfo_cli_table(cli, list, columns, "no teachers: put a model file into models.dir");
        }
    }
    gdfo_json_destroy(list);
    return code;
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_teacher_ls = {
    .words = "teacher ls",
    .usage = "",
    .min_words = 0,
    .max_words = 0,
    .options = options,
    .help = "the teachers jobs may ask",
    .run = run,
};
