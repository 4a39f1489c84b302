/* Canonical hashes: the same in every process, unlike Python's (docs/image-format.md, "Tables").
 *
 * Multiply-fold over 8-byte pieces, the construction of wyhash and rapidhash, with secrets derived
 * from the seed. Seed 0 is the usual one; a random seed is taken when keys collide on purpose, and
 * then the secrets are unknown to their author. */
#ifndef ICEHOUSE_IMAGE_HASH_H
#define ICEHOUSE_IMAGE_HASH_H

#include <stdint.h>
#include <string.h>

static inline uint64_t ih_fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t ih_secret(uint32_t seed, uint64_t constant)
{
    if (seed == 0)
        return constant;
    uint64_t z = constant + seed * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) | 1;
}

static inline uint64_t ih_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline uint32_t ih_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* Of text (its UTF-8) and bytes; `domain` keeps "a" and b"a" apart. Reads `size` bytes and no more.
 */
static inline uint64_t ih_hash_bytes(const uint8_t *p, uint64_t size, uint64_t domain,
                                     uint32_t seed)
{
    uint64_t s0 = ih_secret(seed, 0xa0761d6478bd642fu), s1 = ih_secret(seed, 0xe7037ed1a0b428dbu);
    uint64_t state = s0 ^ domain, a, b;
    if (size <= 16) {
        if (size >= 8) {
            a = ih_load64(p);
            b = ih_load64(p + size - 8);
        } else if (size >= 4) {
            a = ih_load32(p);
            b = ih_load32(p + size - 4);
        } else if (size > 0) {
            a = (uint64_t)p[0] << 16 | (uint64_t)p[size >> 1] << 8 | p[size - 1];
            b = 0;
        } else {
            a = b = 0;
        }
    } else {
        uint64_t left = size;
        while (left > 16) {
            state = ih_fold(ih_load64(p) ^ s1, ih_load64(p + 8) ^ state);
            p += 16;
            left -= 16;
        }
        a = ih_load64(p + left - 16);
        b = ih_load64(p + left - 8);
    }
    return ih_fold(s1 ^ size, ih_fold(a ^ s1, b ^ state));
}

/* Of one word: numbers (Python's numeric hash), constants, and steps of a combination. */
static inline uint64_t ih_hash_word(uint64_t value, uint64_t domain, uint32_t seed)
{
    uint64_t s0 = ih_secret(seed, 0x8ebc6af09c88c6e3u), s1 = ih_secret(seed, 0x589965cc75374cc3u);
    return ih_fold(ih_fold(value ^ s0, domain ^ s1) ^ s1, s0);
}

#define IH_DOMAIN_STR 0u
#define IH_DOMAIN_BYTES 0x62797465u
#define IH_DOMAIN_NUMBER 0x6e756d62u
#define IH_DOMAIN_CONSTANT 0x636f6e73u
#define IH_DOMAIN_TUPLE 0x7475706cu
#define IH_DOMAIN_SET 0x73657473u

#endif
