#include "server/net/gate.h"

#include "common/parse.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* The ranges of service.md 8.3. v4-mapped and v4-compatible are no rows: inner_v4 unwraps them. */
static const struct gdfo_gate_cidr forbidden[] = {
    {{{0}, 0}, 8},                       /* this host */
    {{{10}, 0}, 8},                      /* private */
    {{{100, 64}, 0}, 10},                /* carrier NAT */
    {{{127}, 0}, 8},                     /* loopback */
    {{{169, 254}, 0}, 16},               /* link local, cloud metadata */
    {{{172, 16}, 0}, 12},                /* private */
    {{{192, 0, 0}, 0}, 24},              /* protocol assignments */
    {{{192, 168}, 0}, 16},               /* private */
    {{{198, 18}, 0}, 15},                /* benchmarks */
    {{{224}, 0}, 3},                     /* multicast, reserved, broadcast */
    {{{0}, 1}, 128},                     /* unspecified */
    {{{[15] = 1}, 1}, 128},              /* loopback */
    {{{0xfc}, 1}, 7},                    /* unique local */
    {{{0xfe, 0x80}, 1}, 10},             /* link local */
    {{{0xff}, 1}, 8},                    /* multicast */
    {{{0x00, 0x64, 0xff, 0x9b}, 1}, 96}, /* NAT64: hides an IPv4 address */
};

int gdfo_gate_addr_parse(struct gdfo_gate_addr *out, const char *text)
{
    struct gdfo_gate_addr a = {{0}, 0};
    a.is_v6 = strchr(text, ':') != NULL;
    if (inet_pton(a.is_v6 ? AF_INET6 : AF_INET, text, a.bytes) != 1) {
        return 0;
    }
    *out = a;
    return 1;
}

static int has_bits_behind(const struct gdfo_gate_cidr *c)
{
    for (unsigned i = c->n_bits; i < (c->addr.is_v6 ? 128U : 32U); i++) {
        if (c->addr.bytes[i / 8] & (0x80U >> (i % 8))) {
            return 1;
        }
    }
    return 0;
}

enum gdfo_status gdfo_gate_cidr_parse(struct gdfo_gate_cidr *out, const char *text,
                                      struct gdfo_error *err)
{
    struct gdfo_gate_cidr c = {{{0}, 0}, 0};
    char addr[64];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    int64_t bits = 0;
    int ok = n < sizeof addr;
    if (ok) {
        memcpy(addr, text, n);
        addr[n] = '\0';
        ok = gdfo_gate_addr_parse(&c.addr, addr);
    }
    bits = c.addr.is_v6 ? 128 : 32;
    if (!ok || (slash && !gdfo_parse_i64(slash + 1, 0, bits, &bits))) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "allowed range '%.64s': want ADDRESS/BITS, as 10.0.0.0/8", text);
    }
    c.n_bits = (unsigned)bits;
    if (has_bits_behind(&c)) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "allowed range '%.64s': bits behind the prefix of %u are set", text,
                              c.n_bits);
    }
    *out = c;
    return GDFO_STATUS_OK;
}

static int holds(const struct gdfo_gate_cidr *c, const struct gdfo_gate_addr *a)
{
    unsigned whole = c->n_bits / 8;
    unsigned mask = (0xff00U >> (c->n_bits % 8)) & 0xffU;
    if (c->addr.is_v6 != a->is_v6 || memcmp(c->addr.bytes, a->bytes, whole) != 0) {
        return 0;
    }
    return mask == 0 || ((c->addr.bytes[whole] ^ a->bytes[whole]) & mask) == 0;
}

static int is_in(const struct gdfo_gate_cidr *ranges, size_t n, const struct gdfo_gate_addr *a)
{
    for (size_t i = 0; i < n; i++) {
        if (holds(&ranges[i], a)) {
            return 1;
        }
    }
    return 0;
}

/* The IPv4 address inside ::ffff:0:0/96 or ::/96; 0 when there is none (:: and ::1 are their own).
 */
static int inner_v4(const struct gdfo_gate_addr *a, struct gdfo_gate_addr *out)
{
    static const unsigned char zero[12];
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    int is_compatible = a->is_v6 && memcmp(a->bytes, zero, 12) == 0;
    int is_own = is_compatible && memcmp(a->bytes + 12, zero, 3) == 0 && a->bytes[15] <= 1;
    if (!a->is_v6 || is_own || (!is_compatible && memcmp(a->bytes, mapped, 12) != 0)) {
        return 0;
    }
    memset(out, 0, sizeof *out);
    memcpy(out->bytes, a->bytes + 12, 4);
    return 1;
}

enum gdfo_gate_word gdfo_gate_judge(const struct gdfo_gate_addr *addr,
                                    const struct gdfo_gate_cidr *allowed, size_t n)
{
    struct gdfo_gate_addr inner;
    const struct gdfo_gate_addr *a = inner_v4(addr, &inner) ? &inner : addr;
    if (is_in(allowed, n, a) || is_in(allowed, n, addr)) {
        return GDFO_GATE_LISTED;
    }
    return is_in(forbidden, sizeof forbidden / sizeof *forbidden, a) ? GDFO_GATE_FORBIDDEN
                                                                     : GDFO_GATE_PUBLIC;
}
