"""Few ternary words that cover a set of binary ones."""

import numpy as np

FREE = 2  # of a word, where either bit matches


def covered(members: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Ternary words that match all members and nothing beyond what is allowed.

    Each member that no word matches yet is widened, bit by bit, while the word stays within what is
    allowed; of several orders of the bits, the word with the most new members is kept. Then words
    that others make unnecessary are left out. The number of words is small, not least: to find the
    least is a hard problem. (Words that cannot be widened are prime implicants: W. V. Quine, Am.
    Math. Mon. 59, 521 (1952).)

    **Arguments:** `members`, `allowed`: which binary words, `(2,) * bits`, boolean.

    **Returns:** `(words, bits)`, entries 0, 1 and `FREE`.
    """
    bits = members.ndim
    allowed = allowed | members
    left, words = members.copy(), []
    orders = [[*range(k, bits), *range(k)] for k in range(bits)]
    orders += [order[::-1] for order in orders]
    while left.any():
        begin = np.argwhere(left)[0]
        words.append(
            max((_widened(begin, allowed, o) for o in orders), key=lambda w: _hits(left, w))
        )
        left[_part(words[-1])] = False
    # the words that matter least come first in the order in which they are tried
    times = np.zeros(members.shape, int)
    for word in words:
        times[_part(word)] += 1
    for word in sorted(words, key=lambda w: int((w == FREE).sum())):
        inside = _part(word)
        if (times[inside][members[inside]] > 1).all():
            times[inside] -= 1
            words = [w for w in words if w is not word]
    return np.array(words, int).reshape(-1, bits)


def _part(word: np.ndarray) -> tuple:
    return tuple(slice(None) if bit == FREE else int(bit) for bit in word)


def _hits(left: np.ndarray, word: np.ndarray) -> int:
    return int(np.count_nonzero(left[_part(word)]))


def _widened(begin: np.ndarray, allowed: np.ndarray, order: list[int]) -> np.ndarray:
    word = begin.copy()
    for bit in order:
        kept, word[bit] = word[bit], FREE
        if not np.all(allowed[_part(word)]):
            word[bit] = kept
    return word
