# The data of a completion for zsh: calls of _arguments, one for the program and one for each command (program.awk).

# A text within [...] or between colons of a specification, and within '...' of the shell.
function told(text)
{
	gsub(/\\/, "\\\\", text)
	gsub(/\[/, "\\[", text)
	gsub(/\]/, "\\]", text)
	gsub(/:/, "\\:", text)
	gsub(/'/, "'\\''", text)
	return text
}

# What completes a value: an action of _arguments.
function action(name,    kind)
{
	kind = kind_of(name)
	if (kind == "file")
		return "_files"
	if (kind == "dir")
		return "_files -/"
	if (kind == "text")
		return " "
	if (substr(kind, 1, 1) == "=")
		return "(" substr(kind, 2) ")"
	return "_" program "_names " kind
}

function put_option(i, indent,    names, before, behind)
{
	names = option[i] (value[i] != "" ? "=" : "")
	if (letter[i] != "")
		names = (repeats[i] ? "" : "(" letter[i] " " option[i] ")'") "{" letter[i] (value[i] != "" ? "+" : "") "," names "}'"
	before = repeats[i] ? "*" : letter[i] == "" ? "(" option[i] ")" : ""
	behind = value[i] == "" ? "" : ":" told(value[i]) ":" action(value[i])
	print indent "'" before names "[" told(help[i]) "]" behind "' \\"
}

function put_options(name, indent,    i)
{
	for (i = 1; i <= options; i++) {
		if (of_command[i] == name)
			put_option(i, indent)
	}
}

function put_words(name, indent,    n, k, word)
{
	n = split(words[name], word, " ")
	for (k = 1; k <= n; k++)
		print indent "'" (word[k] ~ /\.\.\./ ? "*" : k) ":" told(word[k]) ":" action(word[k]) "' \\"
}

# The case of one command; tail: the word that names it there.
function put_command(name, tail, indent)
{
	print indent "(" tail ")"
	print indent "\t_arguments -s -S $all \\"
	put_options(name, indent "\t\t")
	put_words(name, indent "\t\t")
	print indent "\t\t&& ret=0"
	print indent "\t;;"
}

function put_described(array, list, first, indent,    n, k, word, name)
{
	print indent array "=("
	n = split(list, word, " ")
	for (k = 1; k <= n; k++) {
		name = first == "" ? word[k] : first " " word[k]
		print indent "\t'" told(word[k]) ":" told(name in about ? about[name] : next_words[name]) "'"
	}
	print indent ")"
}

function put_head(first,    n, k, word)
{
	print "\t\t(" first ")"
	put_described("next", next_words[first], first, "\t\t\t")
	print "\t\t\tif ((CURRENT == 2)); then\n\t\t\t\t_describe -t commands 'what to do' next && ret=0\n\t\t\t\treturn ret\n\t\t\tfi"
	print "\t\t\tshift words\n\t\t\t((CURRENT--))\n\t\t\tcase $words[1] in"
	n = split(next_words[first], word, " ")
	for (k = 1; k <= n; k++)
		put_command(first " " word[k], word[k], "\t\t\t")
	print "\t\t\tesac\n\t\t\t;;"
}

function put_plain()
{
	print "_" program "()\n{\n\tlocal context state state_descr line ret=1\n\ttypeset -A opt_args"
	print "\t_arguments -s -S \\"
	put_options("", "\t\t")
	print "\t\t&& ret=0\n\treturn ret\n}"
}

function put_data(    i)
{
	find_heads()
	if (!commands) {
		put_plain()
		return
	}
	print "_" program "()\n{\n\tlocal curcontext=$curcontext context state state_descr line ret=1\n\tlocal -a all next\n\ttypeset -A opt_args"
	print "\tall=( \\"
	put_options("", "\t\t")
	print "\t)\n\t_arguments -C -s -S -A '-*' $all '1: :->command' '*:: :->words' && ret=0"
	print "\tcase $state in\n\t(command)"
	put_described("next", first_words, "", "\t\t")
	print "\t\t_describe -t commands command next && ret=0\n\t\t;;\n\t(words)\n\t\tcurcontext=${curcontext%:*:*}:" program "-$words[1]:"
	print "\t\tcase $words[1] in"
	for (i = 1; i <= heads; i++)
		put_head(head[i])
	for (i = 1; i <= commands; i++) {
		if (index(command[i], " ") == 0)
			put_command(command[i], command[i], "\t\t")
	}
	print "\t\tesac\n\t\t;;\n\tesac\n\treturn ret\n}"
}
