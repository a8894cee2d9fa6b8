"""Few ternary words, in order of priority, that hold a table of binary words."""

import numpy as np

FREE = 2  # of a word, where either bit matches


def ordered(table: np.ndarray, otherwise: int) -> tuple[np.ndarray, np.ndarray]:
    """Ternary words and their values, of which the first that matches gives the value of a binary
    word, and `otherwise` where none does.

    The list grows from its end. Each new word comes before all others. It begins with a binary word
    whose value is still wrong and is widened, bit by bit, to where it corrects the most, less what
    it spoils; of some such words the best is taken. This ends, since a word that is not widened
    spoils nothing. The number of words is small, not least: to find the least is a hard problem.
    (Lists of this kind are the decision lists of R. L. Rivest, Mach. Learn. 2, 229 (1987),
    doi:10.1007/BF00058680.)

    **Arguments:** `table`: values from 0, `(2,) * bits`; -1 where any will do.

    **Returns:** `(words, bits)`, entries 0, 1 and `FREE`, and `(words,)`.
    """
    now = np.full(table.shape, otherwise)
    words, values = [], []
    while (wrong := (table >= 0) & (now != table)).any():
        best, most, value = None, 0, 0
        for begin in _some(wrong, table):
            to = int(table[tuple(begin)])
            worth = (wrong & (table == to)).astype(int)
            worth -= (table >= 0) & (table != to) & (now == table)
            word, gain = _widened(begin, worth)
            if gain > most:
                best, most, value = word, gain, to
        assert best is not None
        words.insert(0, best)
        values.insert(0, value)
        now[part(best)] = value
    return np.array(words, int).reshape(-1, table.ndim), np.array(values, int)


def part(word: np.ndarray) -> tuple:
    """The binary words that a ternary one matches, as an index."""
    return tuple(slice(None) if bit == FREE else int(bit) for bit in word)


def _some(wrong: np.ndarray, table: np.ndarray) -> list[np.ndarray]:
    """One word that is wrong for each value, and some others."""
    every = np.argwhere(wrong)
    _, first = np.unique(table[wrong], return_index=True)
    spread = np.linspace(0, len(every) - 1, 8).astype(int)
    return [every[k] for k in np.union1d(first, spread)]


def _widened(begin: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, int]:
    word, gain = begin.copy(), int(worth[tuple(begin)])
    best = word.copy(), gain
    for _ in range(len(word)):
        tried = []
        for bit in np.flatnonzero(word != FREE):
            wider = word.copy()
            wider[bit] = FREE
            tried.append((int(worth[part(wider)].sum()), -bit, wider))
        gain, _, word = max(tried, key=lambda x: x[:2])
        if gain > best[1]:
            best = word.copy(), gain
        elif gain <= 0:
            break
    return best
