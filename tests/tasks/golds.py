r"""Gold answers of our own in the forms that public sets use, and the forms in which models give an answer.

``GOLDS``: by the kind of set; within one, no two answers are equal. ``FORMS``: each takes a gold answer as LaTeX.
"""

GOLDS = {
    "gsm8k": r"""
        18 ;; 3 ;; 70000 ;; 540 ;; 64 ;; 260 ;; 1,250 ;; 5,600 ;; -7 ;; 0 ;; 42 ;; 694 ;; 109 ;; $1,204 ;;
        2,050,000 ;; 31.5 ;; 0.25 ;; 12.50 ;; 99076 ;; 8000000""",
    "math": r"""
        \frac{3}{4} ;; 2\sqrt{3} ;; x^2+1 ;; (-\infty, 2] ;; \left( 3, \frac{\pi}{2} \right) ;; p - q ;;
        \frac{14}{3} ;; 9 ;; \text{Evelyn} ;; 42 ;; 27 ;; 90^\circ ;; 3\sqrt{13} ;; 4 ;; 2220 ;; \frac{3}{56} ;;
        284 ;; 5 ;; \sqrt{51} ;; 6 - 5i ;; -50 ;; \pi ;; 28 ;; 3 ;; 6+9i ;; 13535 ;; 5.4 ;; 10 ;; 1,-2 ;; 144 ;;
        78 ;; -2 + 7i ;; 225 ;; 52_8 ;; 11\sqrt2 ;; 720 ;; \frac{243}{625} ;; -125 ;; 3, 5, 7 ;; 3R^2 ;;
        \dfrac{17}{21} ;; 4,6,14,15 ;; 12\text{ cm} ;; \$32,348 ;; x \in [-2,7] ;;
        \begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} ;; 15\% ;; y = 2x + 3 ;; \{1,4,6\} ;; 2k+2 ;; (6,31,-1) ;;
        \text{east} ;; \begin{pmatrix} -2 & 1 \\ 3 & 0 \end{pmatrix} ;; (2,12) \cup (12,102) ;;
        \frac{1}{2} + \frac{1}{3}i ;; \text{(C)} ;; -\frac{35}{9} ;; 1\frac{4}{5} ;; .0937 ;; \$18.90 ;;
        145^{\circ} ;; (0,9) \cup (9,36) ;; \text{odd} ;; 5r^5 ;; 1 \pm \sqrt{19} ;; \cot x ;;
        45 \text{ minutes} ;; 12! ;; \text{Navin} ;; (5,\infty) ;; \frac{9 \pi}{4} ;; 3.5 \times 10^{7} ;; x=-8 ;;
        2^{99} ;; \frac{1}{64} ;; \frac{3 \sqrt{3}}{4} ;; 80 \text{ square units} ;; \sqrt[3]{7} ;; \log_2 7 ;;
        e^{-3} ;; \binom{9}{4} ;; (x+2)(x-5) ;; a^2 - ab + b^2 ;; 16x + 20 ;; 0.\overline{81} ;; 10101_2 ;;
        \frac{x+2}{7} ;; (-3, -1] ;; [0, \sqrt{2}) ;; \frac{270}{7}\text{ degrees} ;; \frac{1}{7},-\frac{2}{3}""",
    "minerva": r"""
        4.5e33 ;; 2.7778e-6 ;; 1.6 ;; 7.25 ;; 9.6e10 ;; 1e-5 ;; 3e6 ;; 5e-3 ;; 1.07e16 ;; -2.5e-2 ;; 0.0334 ;;
        88 ;; 3.83e35 ;; 6.02e23 ;; 1e22 ;; 0.99 ;; \frac{m g}{k} ;; \sqrt{\frac{2 g h}{3}} ;;
        v_0 \cos (\omega t) + \frac{a}{\omega} \sin (\omega t) ;; -\frac{1}{2} t e^{-t} ;;
        \arcsin{(1.3 \sin{\theta_w})} ;; I(0) e^{-\frac{t}{R C}} ;; E=\frac{3}{2} k T ;; \frac{1}{s^2+4} ;;
        u(t-3) ;; y = \frac{1}{2} x^2 + c ;; \ln 2 ;; 8\pi ;; x^{4}-2x ;; (1, -8) ;; 4.03e-10 ;; 1.3e-19 ;;
        \frac{A}{4\pi r^2} ;; t=0 ;; -272 ;; \sqrt{3} e^{2t} ;; 1+3i ;; \exp(i \frac{\pi}{3}) ;; 2.45e6 ;;
        300 e^{-3t} ;; c_1 e^{2t} + c_2 e^{-t}""",
    "college": r"""
        $\frac{7}{12}$ ;; $x=-4$ ;; $y=3 x-11$ ;; $(2,-3)$ ;; $x^2-9$ ;; $\left(-\infty,-\frac{5}{3}\right)$ ;;
        $8 a^{5} b^{2}$ ;; $-18$ ;; $\frac{x-3}{x+7}$ ;; $5 \sqrt{6}$ ;; $[4, \infty)$ ;; $\ln |x|+C$ ;;
        $3 x^{2} e^{x}$ ;; $\frac{5 \pi}{6}$ ;; $90^{\circ}$ ;; $x<-2$ ;; $y \geq 7$ ;;
        $\left\{-2, \frac{1}{3}\right\}$ ;; $0.045$ ;; $2.5 \%$ ;; $\$ 1{,}440$ ;; $\mathbf{i}+2 \mathbf{j}$ ;;
        $(x-4)^{2}+(y+1)^{2}=25$ ;; $z=3+4i$ ;; $-\csc ^{2} x$ ;; $1,250$ ;; $48$ ;; $4 x^3-6 x$ ;;
        $\frac{d y}{d x}=2 x$ ;; $\sqrt[4]{5}$ ;; $f(x)=2x-9$ ;; $x=1, x=6$ ;; $r=3$ ;; $\log _{3} 5$""",
    "amc": r"""
        142 ;; 27 ;; 36.0 ;; -1 ;; 1.5 ;; 3159 ;; 13 ;; 361 ;; 0.5 ;; 2021 ;; 100671 ;; 76 ;; 8178 ;; 18 ;; 116 ;;
        8100 ;; 5.0 ;; 11 ;; 28812 ;; 127""",
    "choice": r"""
        A ;; B ;; C ;; D ;; E""",
    "asdiv": r"""
        10 (apples) ;; 9 (books) ;; 150 (km) ;; 7.5 (pounds) ;; 24 (years) ;; 1,100 (people) ;; 56 (cents) ;;
        3 (hours)""",
}


def golds(kind: str) -> list[str]:
    """The gold answers of a kind of set, in order."""
    return [gold.strip() for gold in GOLDS[kind].split(";;")]


def bare(gold: str) -> str:
    """A gold answer without dollar signs around it."""
    return gold.replace("$$", "$")[1:-1] if gold[:1] == "$" == gold[-1:] and len(gold) > 2 else gold


def _latex(gold: str) -> str:
    inside = bare(gold)
    return "\\" + inside if inside[:1] == "$" else inside


FORMS = {
    "box": lambda g: rf"So it is \boxed{{{_latex(g)}}}.",
    "box in math": lambda g: rf"We add 3 and 4 and get $x = 7$. Hence $\boxed{{{_latex(g)}}}$ is what we want.",
    "minerva": lambda g: (
        rf"Since 3 + 4 = 7, go on. Final Answer: The final answer is ${_latex(g)}$. I hope it is correct."
    ),
    "sentence": lambda g: f"We find 2 roots. The answer is ${_latex(g)}$.",
    "plain": lambda g: f"There are 7 of 12. The answer is {bare(g)}.",
    "colon": lambda g: f"Add 3.\nAnswer: {bare(g)}",
    "hashes": lambda g: f"2 + 2 = 4\n#### {bare(g)}",
    "bold": lambda g: f"Step 1: we add 11.\n\n**Final Answer:** ${_latex(g)}$",
    "bold value": lambda g: f"It takes 2 steps. The final answer is **{bare(g)}**.",
    "display": lambda g: f"**Answer:**\n\n\\[\n{_latex(g)}\n\\]\n",
    "parentheses": lambda g: f"The correct answer is \\({_latex(g)}\\), since 5 of 8 are left.",
    "dollars": lambda g: f"Thus, the answer is:\n$$\n{_latex(g)}\n$$",
    "tag": lambda g: f"<think>3 + 4 = 7</think>\n<answer>{_latex(g)}</answer>",
    "reason": lambda g: f"The answer is ${_latex(g)}$ because 6 * 7 = 42 and not 43.",
    "no phrase": lambda g: f"Using 3 steps, we finally have ${_latex(g)}$.",
}
