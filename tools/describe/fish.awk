# The data of a completion for fish (program.awk).

function told(text)
{
	gsub(/\\/, "\\\\", text)
	gsub(/'/, "\\'", text)
	return "'" text "'"
}

# What offers values of this name.
function offer(name,    kind)
{
	kind = kind_of(name)
	if (kind == "file")
		return " -F"
	if (kind == "dir")
		return " -x -a '(__fish_complete_directories (commandline -ct))'"
	if (kind == "text")
		return " -x"
	if (substr(kind, 1, 1) == "=")
		return " -x -a " told(substr(kind, 2))
	return " -x -a '(__" program "_names " kind ")'"
}

function put_option(i)
{
	print "complete -c " program (of_command[i] == "" ? "" : " -n " told("__" program "_at " told(of_command[i]))) " -l " substr(option[i], 3) \
	    (letter[i] == "" ? "" : " -s " substr(letter[i], 2)) (value[i] == "" ? "" : " -r" offer(value[i])) " -d " told(help[i])
}

function put_words(name,    n, k, word, at)
{
	n = split(words[name], word, " ")
	for (k = 1; k <= n; k++) {
		at = "__" program "_at " told(name) (word[k] ~ /\.\.\./ ? "" : " " k)
		if (kind_of(word[k]) != "text")
			print "complete -c " program " -n " told(at) offer(word[k])
	}
}

# The options that take a value, each behind its command.
function list_of_valued(    i, all)
{
	for (i = 1; i <= options; i++) {
		if (value[i] == "")
			continue
		all = all " " told(of_command[i] " " option[i])
		if (letter[i] != "")
			all = all " " told(of_command[i] " " letter[i])
	}
	return all
}

function put_data(    i, n, k, word)
{
	find_heads()
	printf "set -g __" program "_heads"
	for (i = 1; i <= heads; i++)
		printf " %s", head[i]
	print ""
	print "set -g __" program "_valued" list_of_valued()
	print "complete -c " program " -f"
	n = split(first_words, word, " ")
	for (k = 1; k <= n; k++)
		print "complete -c " program " -n " told("__" program "_at ''") " -a " word[k] " -d " told(word[k] in about ? about[word[k]] : "then: " next_words[word[k]])
	for (i = 1; i <= heads; i++) {
		n = split(next_words[head[i]], word, " ")
		for (k = 1; k <= n; k++)
			print "complete -c " program " -n " told("__" program "_at " head[i]) " -a " word[k] " -d " told(about[head[i] " " word[k]])
	}
	for (i = 1; i <= commands; i++)
		put_words(command[i])
	for (i = 1; i <= options; i++)
		put_option(i)
}
