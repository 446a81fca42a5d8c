/* What holds for every route of api/routes.def: refusals before a handler is reached, and the
 * description in deploy/openapi.yaml (which is JSON) both ways. Requests are made without a
 * socket. */
#include "common/file.h"
#include "common/json.h"
#include "common/wire.h"
#include "server/http/request.h"
#include "server/http/respond.h"
#include "server/http/router.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static struct gdfo_http_config cfg;      /* default */
static const struct gdfo_http_deps deps; /* nothing: no refusal may ask the layers below */

/* The pattern with something that fits in each slot. */
static const char *path_of(const struct gdfo_route *route, const char *query)
{
    static char path[512];
    size_t k = 0;
    for (const char *p = route->pattern; *p;) {
        const char *fill = strncmp(p, "{id}", 4) == 0        ? "ftjob-1"
                           : strncmp(p, "{ckpt}", 6) == 0    ? "best"
                           : strncmp(p, "{name}", 6) == 0    ? "local"
                           : strncmp(p, "{version}", 9) == 0 ? "1"
                                                             : NULL;
        if (fill) {
            k += (size_t)snprintf(path + k, sizeof path - k, "%s", fill);
            p = strchr(p, '}') + 1;
        } else {
            path[k++] = *p++;
        }
    }
    (void)snprintf(path + k, sizeof path - k, "%s", query);
    return path;
}

struct ask {
    const char *method, *path, *content_type;
    uint64_t announced;
    const char *body; /* NULL: the head alone */
};

static struct gdfo_request *ask(const struct ask *a)
{
    struct gdfo_request *r = gdfo_request_create(&cfg, &deps, 8787);
    const struct gdfo_request_head head = {a->method, "HTTP/1.1", 100};
    char length[32];
    assert_non_null(r);
    gdfo_request_set_target(r, a->path);
    gdfo_request_header(r, "Host", 4, "localhost", 9);
    if (a->announced) {
        (void)snprintf(length, sizeof length, "%llu", (unsigned long long)a->announced);
        gdfo_request_header(r, "Content-Length", 14, length, strlen(length));
    }
    if (a->content_type) {
        gdfo_request_header(r, "Content-Type", 12, a->content_type, strlen(a->content_type));
    }
    gdfo_request_begin(r, &head);
    if (a->body && !r->answer.is_ready) {
        assert_int_equal(gdfo_request_body(r, a->body, strlen(a->body)), 1);
        gdfo_request_end(r);
    }
    return r;
}

static void refused(const struct ask *a, int status, const char *code)
{
    struct gdfo_request *r = ask(a);
    struct gdfo_json *v = NULL;
    struct gdfo_error err = {0};
    if (!r->answer.is_ready || r->answer.http_status != status) {
        fail_msg("%s %s: want %d, got %d", a->method, a->path, status, r->answer.http_status);
    }
    gdfo_test_ok(gdfo_json_parse(&v, r->answer.body.data, r->answer.body.len, NULL, &err), &err);
    if (strncmp(a->path, "/v2", 3) == 0) { /* the protocol's own shape: words alone */
        assert_int_equal(gdfo_json_size(v), 1);
        assert_true(strlen(gdfo_json_string(gdfo_json_get(v, "error"))) > 0);
    } else {
        assert_string_equal(gdfo_json_string(gdfo_json_get(gdfo_json_get(v, "error"), "code")),
                            code);
    }
    gdfo_json_destroy(v);
    gdfo_request_destroy(r);
}

/* A content type under which the route would take a body. */
static const char *type_of(const struct gdfo_route *route)
{
    return route->body == GDFO_BODY_MULTIPART ? "multipart/form-data; boundary=x"
           : route->body == GDFO_BODY_NONE    ? NULL
                                              : "application/json";
}

static void unknown_query_parameters_are_400(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        refused(&(struct ask){gdfo_method_name(route->method), path_of(route, "?no_such=1"),
                              type_of(route), 0, NULL},
                400, "unknown_field");
    }
}

static void parameters_of_a_later_stage_are_422(void **state)
{
    const struct gdfo_route *route;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        for (const char *p = route->later; *p; p += strcspn(p, " "), p += *p == ' ') {
            char query[64];
            (void)snprintf(query, sizeof query, "?%.*s=1", (int)strcspn(p, " "), p);
            refused(&(struct ask){gdfo_method_name(route->method), path_of(route, query),
                                  type_of(route), 0, NULL},
                    422, "not_supported");
            n++;
        }
    }
    assert_true(n >= 10);
}

static void other_methods_are_405_with_the_right_ones(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        struct gdfo_request *r =
            ask(&(struct ask){"PUT", path_of(route, ""), "application/json", 0, NULL});
        assert_int_equal(r->answer.http_status, 405);
        assert_non_null(strstr(r->answer.allow, gdfo_method_name(route->method)));
        gdfo_request_destroy(r);
    }
}

static void a_body_past_the_ceiling_is_413(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        uint64_t most = route->body == GDFO_BODY_MULTIPART ? ((uint64_t)512 << 20) + (64 << 10)
                        : route->body == GDFO_BODY_OIP     ? (uint64_t)4 << 20
                                                           : (uint64_t)1 << 20;
        refused(&(struct ask){gdfo_method_name(route->method), path_of(route, ""), type_of(route),
                              most + 1, NULL},
                413, "body_too_large");
        if (route->body != GDFO_BODY_NONE && route->body != GDFO_BODY_OIP) { /* off in these deps */
            struct gdfo_request *r = ask(&(struct ask){
                gdfo_method_name(route->method), path_of(route, ""), type_of(route), most, NULL});
            assert_int_equal(r->answer.is_ready, 0);
            gdfo_request_destroy(r);
        }
    }
}

static void bodies_of_another_type_are_415(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        if (route->body >= GDFO_BODY_JSON) {
            refused(&(struct ask){gdfo_method_name(route->method), path_of(route, ""), "text/plain",
                                  2, NULL},
                    415, "unsupported_media_type");
        }
        if (route->body == GDFO_BODY_JSON || route->body == GDFO_BODY_MULTIPART) {
            refused(
                &(struct ask){gdfo_method_name(route->method), path_of(route, ""), NULL, 2, NULL},
                415, "unsupported_media_type");
        }
    }
}

static void bodies_where_none_is_due_are_400(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        if (route->body == GDFO_BODY_NONE) {
            refused(
                &(struct ask){gdfo_method_name(route->method), path_of(route, ""), NULL, 2, NULL},
                400, "invalid_value");
        }
    }
}

static void malformed_json_is_400_before_any_look_up(void **state)
{
    static const char *const bad[] = {"{", "{}x", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
                                      "\xff"};
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            if (route->body == GDFO_BODY_JSON || route->body == GDFO_BODY_ACTION) {
                refused(&(struct ask){gdfo_method_name(route->method), path_of(route, ""),
                                      "application/json", strlen(bad[k]), bad[k]},
                        400, "invalid_json");
            }
        }
    }
}

/* ---- the description ---------------------------------------------------------------------- */

static struct gdfo_json *openapi;

static int load(void **state)
{
    const struct gdfo_json_limits limits = {.values = 1000000, .members = 10000};
    struct gdfo_error err = {0};
    struct gdfo_buf b;
    (void)state;
    cfg = gdfo_http_config_default();
    gdfo_buf_init(&b, (size_t)4 << 20);
    gdfo_test_ok(gdfo_file_read("deploy/openapi.yaml", &b, &err), &err);
    gdfo_test_ok(gdfo_json_parse(&openapi, b.data, b.len, &limits, &err), &err);
    gdfo_buf_deinit(&b);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    gdfo_json_destroy(openapi);
    return 0;
}

static const struct gdfo_json *operation_of(const struct gdfo_route *route)
{
    static const char *const verbs[] = {"", "get", "post", "put", "patch", "delete"};
    const struct gdfo_json *path = gdfo_json_get(gdfo_json_get(openapi, "paths"), route->pattern);
    const struct gdfo_json *operation = path ? gdfo_json_get(path, verbs[route->method]) : NULL;
    if (!operation) {
        fail_msg("openapi.yaml does not know %s %s", gdfo_method_name(route->method),
                 route->pattern);
    }
    return operation;
}

static void every_route_is_described_and_nothing_else(void **state)
{
    const struct gdfo_route *route;
    size_t n_routes = 0;
    size_t n_described = 0;
    (void)state;
    for (; (route = gdfo_router_at(n_routes)) != NULL; n_routes++) {
        const struct gdfo_json *operation = operation_of(route);
        assert_non_null(gdfo_json_get(operation, "operationId"));
        assert_non_null(gdfo_json_get(operation, "summary"));
        assert_non_null(gdfo_json_get(operation, "responses"));
    }
    for (const struct gdfo_json *path = gdfo_json_first(gdfo_json_get(openapi, "paths")); path;
         path = gdfo_json_next(path)) {
        for (const struct gdfo_json *v = gdfo_json_first(path); v; v = gdfo_json_next(v)) {
            n_described += strcmp(gdfo_json_key(v), "parameters") != 0;
        }
    }
    assert_int_equal(n_described, n_routes);
}

static void query_parameters_are_the_same_both_ways(void **state)
{
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        const struct gdfo_json *list = gdfo_json_get(operation_of(route), "parameters");
        size_t n_words = route->params[0] != '\0';
        size_t n_described = 0;
        for (const char *p = route->params; *p; p++) {
            n_words += *p == ' ';
        }
        for (const struct gdfo_json *v = list ? gdfo_json_first(list) : NULL; v;
             v = gdfo_json_next(v)) {
            const char *name = gdfo_json_string(gdfo_json_get(v, "name"));
            assert_string_equal(gdfo_json_string(gdfo_json_get(v, "in")), "query");
            if (!gdfo_router_has_word(route->params, name)) {
                fail_msg("openapi.yaml has %s at %s, the route has not", name, route->pattern);
            }
            n_described++;
        }
        if (n_described != n_words) {
            fail_msg("%s: openapi.yaml has %zu query parameters, the route has %zu", route->pattern,
                     n_described, n_words);
        }
    }
}

static void request_bodies_have_the_route_s_type(void **state)
{
    static const char *const types[] = {NULL, NULL, "application/json", "multipart/form-data",
                                        "application/json"};
    const struct gdfo_route *route;
    (void)state;
    for (size_t i = 0; (route = gdfo_router_at(i)) != NULL; i++) {
        const struct gdfo_json *body = gdfo_json_get(operation_of(route), "requestBody");
        const char *want = types[route->body];
        assert_int_equal(body != NULL, want != NULL);
        if (want) {
            assert_non_null(gdfo_json_get(gdfo_json_get(body, "content"), want));
        }
    }
}

static void the_codes_are_those_of_the_closed_list(void **state)
{
    const struct gdfo_json *v = openapi;
    static const char *const way[] = {"components", "schemas", "Code", "enum"};
    size_t n = 0;
    (void)state;
    for (size_t i = 0; v && i < sizeof way / sizeof *way; i++) {
        v = gdfo_json_get(v, way[i]);
    }
    assert_non_null(v);
    for (const struct gdfo_json *code = gdfo_json_first(v); code; code = gdfo_json_next(code)) {
        if (!gdfo_wire_find(gdfo_json_string(code))) {
            fail_msg("openapi.yaml names the code %s", gdfo_json_string(code));
        }
        n++;
    }
    assert_null(gdfo_wire_at((unsigned)n));
    assert_non_null(gdfo_wire_at((unsigned)n - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_query_parameters_are_400),
        cmocka_unit_test(parameters_of_a_later_stage_are_422),
        cmocka_unit_test(other_methods_are_405_with_the_right_ones),
        cmocka_unit_test(a_body_past_the_ceiling_is_413),
        cmocka_unit_test(bodies_of_another_type_are_415),
        cmocka_unit_test(bodies_where_none_is_due_are_400),
        cmocka_unit_test(malformed_json_is_400_before_any_look_up),
        cmocka_unit_test(every_route_is_described_and_nothing_else),
        cmocka_unit_test(query_parameters_are_the_same_both_ways),
        cmocka_unit_test(request_bodies_have_the_route_s_type),
        cmocka_unit_test(the_codes_are_those_of_the_closed_list),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
