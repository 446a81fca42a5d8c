#ifndef GDFO_SERVER_NET_LINK_PRIV_H
#define GDFO_SERVER_NET_LINK_PRIV_H

#include <stddef.h>

/*
 * Doubly linked rings of what lives elsewhere. A thing takes itself out without knowing the ring it
 * is in, so where it stands is never recorded twice.
 */
struct gdfo_net_link { /* of a doubly linked ring; a head points to itself when empty */
    struct gdfo_net_link *prev, *next;
};

static inline void gdfo_net_link_init(struct gdfo_net_link *l)
{
    l->prev = l;
    l->next = l;
}
static inline int gdfo_net_link_is_empty(const struct gdfo_net_link *l)
{
    return l->next == l;
}
static inline void gdfo_net_link_cut(struct gdfo_net_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    gdfo_net_link_init(l);
}
static inline void gdfo_net_link_add(struct gdfo_net_link *head, struct gdfo_net_link *l)
{
    gdfo_net_link_cut(l);
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}
#define GDFO_NET_OWNER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

#endif
