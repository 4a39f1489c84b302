/* SipHash-2-4 of two words, hashes of texts, and the mixing function of our hash tables. Pure
 * functions. */
#ifndef ICEHOUSE_ARENA_HASH_H
#define ICEHOUSE_ARENA_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t ih_rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64u - bits);
}

static inline void ih_sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ih_rotate(v[1], 13) ^ v[0];
    v[0] = ih_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = ih_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ih_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ih_rotate(v[1], 17) ^ v[2];
    v[2] = ih_rotate(v[2], 32);
}

/* SipHash-2-4 of the 16 little-endian bytes (a, b). */
static inline uint64_t ih_siphash(const uint64_t key[2], uint64_t a, uint64_t b)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const uint64_t words[3] = {a, b, UINT64_C(16) << 56};
    for (unsigned i = 0; i < 3; i++) {
        v[3] ^= words[i];
        ih_sip_round(v);
        ih_sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        ih_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Of a text of any length, 16 bytes at a time. */
static inline uint64_t ih_hash_text(const uint64_t key[2], const char *text, size_t length)
{
    uint64_t hash = length;
    while (length > 0) {
        uint64_t words[2] = {0, 0};
        size_t part = length < 16 ? length : 16;
        memcpy(words, text, part);
        hash = ih_siphash(key, words[0] ^ hash, words[1]);
        text += part;
        length -= part;
    }
    return hash;
}

static inline uint64_t ih_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    return x;
}

#endif
