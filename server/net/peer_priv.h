#ifndef GDFO_SERVER_NET_PEER_PRIV_H
#define GDFO_SERVER_NET_PEER_PRIV_H

struct gdfo_net_peer;

/* Admission of a peer's calls. The io thread only. */
void gdfo_net_peer_dirty(struct gdfo_net_peer *peer); /* is looked at before the thread sleeps */
void gdfo_net_peer_pump(struct gdfo_net_peer *peer);
void gdfo_net_peer_publish(struct gdfo_net_peer *peer); /* for gdfo_net_peer_look */
void gdfo_net_peer_end(struct gdfo_net_peer *peer);     /* nothing of it is left in the thread */

#endif
